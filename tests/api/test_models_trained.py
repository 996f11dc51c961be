"""A report on a model from the real training: what the worker leaves is what the screens read."""

import io
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image as Picture
from sqlalchemy import select, update

from app.accounts.permissions import Actor
from app.contracts.dataset import AnnotationValue, CategoryRef, Dataset, DatasetItem
from app.contracts.jobs import TrainSpec
from app.contracts.tasks import TaskType
from app.db.session import new_session, transaction
from app.db.tables import Category, Image, ModelVersion, Prediction, Project
from app.registry import service as registry_service
from app.registry.arrays import arrays_of
from app.registry.report import report_of
from app.storage.current import blobs
from tests import factories, model_support
from worker.ml.training.classification import train_classification
from worker.ml.training.phases import Phase


def frozen(project: Project) -> Dataset:
    """Return the project's images as a training receives them."""
    with new_session() as session:
        images = list(session.scalars(select(Image).where(Image.project_id == project.id).order_by(Image.id)))
        rows = list(session.scalars(select(Category).where(Category.project_id == project.id).order_by(Category.index)))
    items = [
        DatasetItem(
            image_id=image.id,
            sha256=image.sha256,
            blob_key=image.blob_key,
            width_px=image.width_px,
            height_px=image.height_px,
            split=image.split,
            annotations=(AnnotationValue(category_id=image.category_id),) if image.category_id else (),
        )
        for image in images
    ]
    return Dataset(
        task=TaskType.CLASSIFICATION,
        categories=tuple(CategoryRef(id=row.id, name=row.name, color=row.color, is_good=row.is_good) for row in rows),
        items=tuple(item for item in items if item.annotations),
        unlabelled=tuple(item for item in items if not item.annotations),
    )


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def model(
    owner: Actor, tmp_path: Path, cache_dir: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> ModelVersion:
    brief = Phase("tail", "Last stages", 1e-4, 1, 1.0, backbone_share=5.0)
    monkeypatch.setattr("worker.ml.training.classification_tuning.TUNED", brief)
    project = factories.make_project(owner, "Housings", ("good", "scratch"))
    mix = [(["good", "scratch"][n % 2], ["train", "train", "dev", "test"][n // 2 % 4]) for n in range(96)]
    images = model_support.add_images(project, [*mix, (None, None), (None, None)])
    mislabelled = [image.id for image in images[:96:7]]  # no figure is 1.0 then
    with transaction() as session:
        good = select(Category.id).where(Category.project_id == project.id, Category.is_good).scalar_subquery()
        session.execute(update(Image).where(Image.id.in_(mislabelled)).values(category_id=good))
    trained = train_classification(
        TrainSpec(backbone="toy", seed=1, method=getattr(request, "param", "feature_extraction")),
        frozen(project),
        open_image=lambda item: blobs().local_path(item.blob_key),
        cache_dir=cache_dir,
        work_dir=tmp_path / "work",
        on_event=lambda _event: None,
        precision="f32",
    )
    with transaction() as session:
        return registry_service.publish(
            session,
            job=model_support.make_job(session, project, owner, len(mix)),
            name=None,
            bundle_dir=trained.bundle_dir,
            manifest=trained.manifest,
            metrics={split: measured.model_dump(mode="json") for split, measured in trained.metrics.items()},
            tables=trained.tables,
            predictions=trained.predictions,
        )


@pytest.mark.parametrize("model", ["feature_extraction", "fine_tuning"], indirect=True)
def test_the_trained_model_is_stored_shown_and_explained(browser: TestClient, model: ModelVersion) -> None:
    stem = f"/projects/{model.project_id}/models/{model.id}"
    with new_session() as session:
        rows = list(session.scalars(select(Prediction).where(Prediction.model_id == model.id)))
    assert len(rows) == 98
    assert {row.split for row in rows} == {"train", "dev", "test", None}
    page = browser.get(stem).text
    assert model.manifest["decision"]["reason"].split(".")[0] in page
    assert "Symmetries" in page
    assert "Regularisation" in page
    is_tuned = model.manifest["lineage"]["method"] == "fine_tuning"
    assert ("Last stages learned too" in page) == is_tuned == (model.manifest["tuning"] is not None)
    assert "Checked end to end" in page
    assert model.metrics["test"]["n_images"] == 24
    assert 0.0 <= model.metrics["test"]["auroc"]["low"] <= model.metrics["test"]["auroc"]["value"] <= 1.0

    row = max((row for row in rows if row.split == "test"), key=lambda row: row.ng_score or 0.0)
    found = browser.get(f"{stem}/heat/{row.image_id}.png")
    assert found.status_code == 200
    assert np.asarray(Picture.open(io.BytesIO(found.content)).convert("RGBA"))[..., 3].max() > 0
    assert browser.get(f"{stem}/images/{row.image_id}").status_code == 200
    assert browser.get(f"{stem}/images?split=unlabelled").text.count("tile__link") == 2


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_training_page_and_rest_say_the_same_figures(
    browser: TestClient, program: TestClient, model: ModelVersion, split: str
) -> None:
    """One definition: what the training measured is what is stored, answered, and counted anew for the page."""
    stem = f"/projects/{model.project_id}"
    stored = model.metrics[split]
    assert stored["f1"]["value"] < 1.0 or split == "train"  # figures of 1 would agree by chance

    assert program.get(f"/v1{stem}/models/{model.id}").json()["data"]["metrics"][split] == stored
    answered = program.get(f"/v1{stem}/train/{model.job_id}/results/metrics").json()["data"]
    headline = next(item for item in answered if item["name"] == split)["metrics"][0]
    assert headline["performance"] == stored["f1"]["value"]
    assert headline["precision"] == stored["precision"]["value"]
    assert headline["recall"] == stored["recall"]["value"]

    manifest = registry_service.manifest_of(model)
    with new_session() as session:
        arrays = arrays_of(session, model, manifest)
    found = report_of(manifest, arrays, split=split, threshold=model.threshold, default=model.threshold, which=None)
    for name in ("f1", "precision", "recall", "accuracy", "answered"):
        assert asdict(getattr(found.figures, name)) == stored[name]
    assert asdict(found.auroc) == stored["auroc"]
    assert found.ece == pytest.approx(stored["ece"])

    page = re.sub(r"<[^>]+>|\s+", " ", browser.get(f"{stem}/models/{model.id}?split={split}").text)
    page = re.sub(r" +", " ", page)
    for title in ("F1", "Precision", "Recall", "Accuracy", "AUROC"):
        one = stored[title.lower()]
        assert f"{title} {one['value']:.2f} ( 95 % interval {one['low']:.2f}–{one['high']:.2f})" in page
