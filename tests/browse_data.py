"""Rows of images and predictions made fast, without files: for tests of queries, where only the rows count."""

import random
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import insert

from app.accounts.permissions import Actor
from app.db.session import transaction
from app.db.tables import Annotation, Image, ImageTag, ModelVersion, Prediction

SPLITS = ("train", "dev", "test", None)
START = datetime(2026, 1, 1, tzinfo=UTC)


def make_rows(
    actor: Actor, project_id: int, n: int, *, class_ids: tuple[int, ...] = (), seed: int = 0, prefix: str = "part"
) -> list[int]:
    """Insert `n` images, two thirds of them with a class; return their ids."""
    rng = random.Random(seed)
    rows = []
    for number in range(n):
        category_id = rng.choice(class_ids) if class_ids and rng.random() < 2 / 3 else None
        rows.append(
            {
                "project_id": project_id,
                "name": f"{prefix}-{rng.randrange(n):06d}.png",
                "sha256": f"{seed:08x}{number:056x}",
                "blob_key": f"projects/{project_id}/originals/{number}",
                "thumb_key": None,
                "format": "png",
                "mode": "L",
                "width_px": rng.choice((300, 400, 640)),
                "height_px": 300,
                "n_bytes": 1000 + number,
                "split": rng.choice(SPLITS),
                "is_labelled": category_id is not None,
                "category_id": category_id,
                "version": 1 if category_id else 0,
                "labelled_at": START + timedelta(seconds=number) if category_id else None,
                "labelled_by_id": actor.user_id if category_id else None,
                "uploaded_by_id": actor.user_id,
                "uploaded_at": START,
            }
        )
    with transaction() as session:
        ids = []
        for start in range(0, n, 5000):
            ids += session.scalars(
                insert(Image).returning(Image.id, sort_by_parameter_order=True), rows[start : start + 5000]
            )
        labels = [
            {"image_id": one, "category_id": row["category_id"], "kind": "class", "geometry": {}, "created_at": START}
            for one, row in zip(ids, rows, strict=True)
            if row["category_id"]
        ]
        if labels:
            session.execute(insert(Annotation), labels)
    return ids


def make_model(project_id: int, *, rule: str = "ng", threshold: float = 0.5, name: str = "Model 1") -> UUID:
    """Insert a model version whose manifest holds what the grid reads."""
    model_id = uuid4()
    with transaction() as session:
        session.add(
            ModelVersion(
                id=model_id,
                project_id=project_id,
                name=name,
                bundle_key="none",
                n_bytes=1,
                manifest={"decision": {"kind": rule, "threshold": threshold, "reason": ""}},
                metrics={},
                tables={},
                threshold=threshold,
            )
        )
    return model_id


def make_predictions(model_id: UUID, image_ids: list[int], class_ids: tuple[int, ...], *, seed: int = 0) -> None:
    """Insert one prediction for each image; the first class is the good one."""
    rng = random.Random(seed)
    rows = []
    for image_id in image_ids:
        ng_score = round(rng.random(), 3)  # few digits, so that many images tie
        predicted = class_ids[0] if ng_score < 0.5 else rng.choice(class_ids[1:])
        score = 1 - ng_score if ng_score < 0.5 else ng_score
        rows.append(
            {
                "model_id": model_id,
                "image_id": image_id,
                "split": None,
                "true_category_id": None,
                "predicted_category_id": predicted,
                "score": score,
                "ng_score": ng_score,
                "is_wrong": None,
                "scores": [1 - ng_score, ng_score],
            }
        )
    with transaction() as session:
        for start in range(0, len(rows), 5000):
            session.execute(insert(Prediction), rows[start : start + 5000])


def tag_images(image_ids: list[int], tag_id: int) -> None:
    with transaction() as session:
        session.execute(insert(ImageTag), [{"image_id": one, "tag_id": tag_id} for one in image_ids])
