"""A detection project and a small real detector for it: an average over windows finds bright and dark squares.

The bundle is like every other: an ONNX graph that the engine runs from image to boxes and scores.
"""

import hashlib
import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image as Picture
from sqlalchemy import select

from app.accounts.permissions import Actor
from app.annotations.shapes import insert_annotations, shape_classes
from app.contracts.bundle import (
    MODEL_NAME,
    BundleManifest,
    DecisionRule,
    FindRule,
    ParityCheck,
)
from app.contracts.dataset import AnnotationValue, CategoryRef
from app.contracts.predictions import ImagePrediction
from app.contracts.shapes import Box
from app.contracts.tasks import Split, TaskType
from app.core.clock import utc_now
from app.db.session import new_session, transaction
from app.db.tables import Category, Image, ModelVersion, Project
from app.inference.bundle import Bundle
from app.inference.decision import image_scores
from app.inference.finder import Finder
from app.registry import service as registry_service
from app.storage import keys
from app.storage.current import blobs
from tests import factories, model_support
from tests.manifests import make_manifest
from worker.ml.evaluation.coco import Boxed, matches_of
from worker.ml.evaluation.detection import measure_finds
from worker.ml.training.detection import boxed_shapes

SIDE_PX, SQUARE_PX, _STEP_PX = 64, 16, 8
BRIGHT, DARK = 0, 1
_SHARPNESS = 12.0
# What is seen on an image and what a person drew there: (class, column, row) in windows, and the class as drawn.
_SEEN = {
    "right": ([(BRIGHT, 0, 0), (DARK, 4, 4)], [BRIGHT, DARK]),
    "missed": ([(BRIGHT, 1, 3)], [BRIGHT, None]),
    "extra": ([(DARK, 2, 2), (BRIGHT, 5, 5)], [DARK]),
    "mixed": ([(DARK, 3, 1)], [BRIGHT]),
    "clean": ([], []),
}
PLAN = ["right", "missed", "extra", "mixed", "clean", "right"]


@dataclass(frozen=True)
class Pictured:
    """A picture's bytes and the boxes that a person drew on it, with the index of each one's class."""

    content: bytes
    drawn: tuple[tuple[int, Box], ...]


@lru_cache(maxsize=200)
def pictured(kind: str, seed: int) -> Pictured:
    """Return a grey picture of a kind of `PLAN`: what is seen is as drawn, or one is missed, extra or mixed up."""
    pixels = np.random.default_rng(seed).normal(110, 3, (SIDE_PX, SIDE_PX))
    seen, labels = _SEEN[kind]
    drawn = []
    for label, column, row in seen:
        left, top = column * _STEP_PX, row * _STEP_PX
        pixels[top : top + SQUARE_PX, left : left + SQUARE_PX] += 70 if label == BRIGHT else -70
    for place, label in enumerate(labels):
        column, row = seen[place][1:] if place < len(seen) else (5, 0)  # nothing is to be seen there
        if label is not None:
            drawn.append((label, _box(column, row)))
        else:
            drawn.append((DARK, _box(column, row)))
    out = io.BytesIO()
    Picture.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert("RGB").save(out, format="PNG")
    return Pictured(out.getvalue(), tuple(drawn))


def _box(column: int, row: int) -> Box:
    left, top = column * _STEP_PX, row * _STEP_PX
    return Box(xmin=left, ymin=top, xmax=left + SQUARE_PX, ymax=top + SQUARE_PX)


def voc(seen: Pictured) -> bytes:
    """Return what is drawn on a picture as Pascal VOC XML."""
    objects = "".join(
        f"<object><name>{('bright', 'dark')[label]}</name><bndbox><xmin>{box.xmin}</xmin><ymin>{box.ymin}</ymin>"
        f"<xmax>{box.xmax}</xmax><ymax>{box.ymax}</ymax></bndbox></object>"
        for label, box in seen.drawn
    )
    size = f"<size><width>{SIDE_PX}</width><height>{SIDE_PX}</height><depth>3</depth></size>"
    return f"<annotation>{size}{objects}</annotation>".encode()


def make_project(actor: Actor, *, n_each: int = 3) -> Project:
    """Make a detection project with `n_each` images of each kind in every split, and two without a label."""
    project = factories.make_project(actor, "Tiles", ("bright", "dark"), TaskType.DETECTION)
    plan = [(kind, split) for split in ("train", "dev", "test") for kind in PLAN for _ in range(n_each)]
    with transaction() as session:
        ids = list(
            session.scalars(select(Category.id).where(Category.project_id == project.id).order_by(Category.index))
        )
        for seed, (kind, split) in enumerate([*plan, ("right", None), ("clean", None)]):
            seen = pictured(kind, seed)
            values = tuple(AnnotationValue(category_id=ids[label], box=box) for label, box in seen.drawn)
            image = _image(project.id, f"{kind}-{seed:03}.png", seen.content, split, values if split else None)
            session.add(image)
            session.flush()
            if split:
                insert_annotations(session, {image.id: values}, actor=actor)
    return project


def _image(
    project_id: int, name: str, content: bytes, split: str | None, values: tuple[AnnotationValue, ...] | None
) -> Image:
    sha256 = hashlib.sha256(content).hexdigest()
    key = keys.original(project_id, sha256)
    blobs().put(key, content)
    is_labelled = values is not None
    return Image(
        project_id=project_id,
        name=name,
        sha256=sha256,
        blob_key=key,
        format="png",
        mode="RGB",
        width_px=SIDE_PX,
        height_px=SIDE_PX,
        n_bytes=len(content),
        split=split,
        is_labelled=is_labelled,
        shape_classes=shape_classes(values) if values is not None else None,
        labelled_at=utc_now() if is_labelled else None,
    )


def publish_detector(
    project: Project, actor: Actor, folder: Path, *, name: str | None = None, limit: float = 0.35
) -> ModelVersion:
    """Publish a detector with what it finds on every image of the project, matched with what is drawn.

    `limit` is how far from grey, in [0, 2], a window must be to be found; squares are 0.55.
    """
    with new_session() as session:
        images = list(session.scalars(select(Image).where(Image.project_id == project.id).order_by(Image.id)))
        rows = list(session.scalars(select(Category).where(Category.project_id == project.id).order_by(Category.index)))
    categories = tuple(CategoryRef(id=row.id, name=row.name, color=row.color) for row in rows)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL_NAME).write_bytes(_graph(limit).SerializeToString())
    manifest = _manifest(categories, folder / MODEL_NAME)
    finder = Finder(Bundle(folder, manifest))
    found = [finder.find(blobs().read(image.blob_key)) for image in images]
    drawn = [_drawn(image, categories) for image in images]
    truth = [Boxed(*_arrays(values)) for values in drawn]
    finds = [boxed_shapes(shapes) for shapes in found]
    matches = matches_of(truth, finds, len(categories))
    with transaction() as session:
        return registry_service.publish(
            session,
            job=model_support.make_job(session, project, actor, len(images)),
            name=name,
            bundle_dir=folder,
            manifest=manifest,
            metrics={
                split: measure_finds(
                    [one for one, image in zip(truth, images, strict=True) if image.split == split],
                    [one for one, image in zip(finds, images, strict=True) if image.split == split],
                    len(categories),
                    threshold=manifest.decision.threshold,
                ).model_dump(mode="json")
                for split in Split
            },
            tables={},
            predictions=[
                ImagePrediction(
                    image_id=image.id,
                    split=Split(image.split) if image.split else None,
                    true_category_id=None,
                    scores=image_scores(shapes),
                    shapes=shapes,
                    drawn=tuple(AnnotationValue(category_id=categories[label].id, box=box) for label, box in values),
                    matches=own if image.split else (),
                )
                for image, shapes, values, own in zip(images, found, drawn, matches, strict=True)
            ],
        )


def _drawn(image: Image, categories: tuple[CategoryRef, ...]) -> tuple[tuple[int, Box], ...]:
    assert len(categories) == 2
    kind, seed = image.name.removesuffix(".png").rsplit("-", 1)
    return pictured(kind, int(seed)).drawn if image.split else ()


def _arrays(values: tuple[tuple[int, Box], ...]) -> tuple[np.ndarray, np.ndarray]:
    boxes = [(box.xmin, box.ymin, box.xmax, box.ymax) for _, box in values]
    labels = np.array([label for label, _ in values], dtype=np.int64)
    return np.array(boxes, dtype=np.float64).reshape(-1, 4), labels


def _manifest(categories: tuple[CategoryRef, ...], model: Path) -> BundleManifest:
    return make_manifest(
        task=TaskType.DETECTION,
        categories=categories,
        decision=DecisionRule(kind="ng", threshold=0.5, reason="In the middle."),
        head="detector",
        side_px=SIDE_PX,
        feature_dim=0,
        model_sha256=hashlib.sha256(model.read_bytes()).hexdigest(),
        boxes_name="boxes",
        heat_name=None,
        finds=FindRule(max_overlap=0.1),
        parity=ParityCheck(n_images=4, max_score_difference=0.0, n_changed_decisions=0, engine="test"),
    )


def _graph(limit: float) -> onnx.ModelProto:
    side = (SIDE_PX - SQUARE_PX) // _STEP_PX + 1
    places = [(column * _STEP_PX, row * _STEP_PX) for row in range(side) for column in range(side)]
    boxes = np.array([[(x, y, x + SQUARE_PX, y + SQUARE_PX) for x, y in places]], dtype=np.float32)
    constants = {
        "grid": boxes,
        "signs": np.array([_SHARPNESS, -_SHARPNESS], dtype=np.float32).reshape(1, 2, 1) / 3,
        "bias": np.array([-_SHARPNESS * limit], dtype=np.float32),
        "middle": np.array([110 / 127.5 - 1], dtype=np.float32),
        "channels": np.array([1], dtype=np.int64),
        "points": np.array([0, 1, -1], dtype=np.int64),
        "none": np.array([0.0], dtype=np.float32),
        "ends": np.array([1, 2], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Sub", ["image", "middle"], ["centred"]),
        helper.make_node("AveragePool", ["centred"], ["means"], kernel_shape=[SQUARE_PX] * 2, strides=[_STEP_PX] * 2),
        helper.make_node("ReduceSum", ["means", "channels"], ["grey"], keepdims=1),
        helper.make_node("Reshape", ["grey", "points"], ["flat"]),
        helper.make_node("Mul", ["flat", "signs"], ["sided"]),
        helper.make_node("Add", ["sided", "bias"], ["logits"]),
        helper.make_node("Transpose", ["logits"], ["by_point"], perm=[0, 2, 1]),
        helper.make_node("Sigmoid", ["by_point"], ["scores"]),
        # Boxes depend on no pixel, and still come one set for each image.
        helper.make_node("ReduceSum", ["by_point", "ends"], ["sums"], keepdims=1),
        helper.make_node("Mul", ["sums", "none"], ["zeros"]),
        helper.make_node("Add", ["grid", "zeros"], ["boxes"]),
    ]
    outputs = [
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["B", len(places), 4]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["B", len(places), 2]),
    ]
    graph = helper.make_graph(
        nodes,
        "squares",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["B", 3, SIDE_PX, SIDE_PX])],
        outputs,
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model
