"""The Models screens and their REST routes, on models that were really trained."""

import io
import json
import re
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from fastapi.testclient import TestClient
from PIL import Image as Picture
from sqlalchemy import event, func, select, update

from app.accounts.permissions import Actor, Role
from app.contracts.bundle import BundleManifest
from app.core.clock import utc_now
from app.core.errors import AppError, InUse
from app.db.session import get_engine, new_session, transaction
from app.db.tables import Deployment, Image, Job, ModelVersion, Prediction, Project
from app.registry import service as registry_service
from app.storage import keys
from app.storage.current import blobs
from tests import factories, model_support
from tests.model_support import scored

MIX = [
    (["good", "good", "scratch", "dent"][n % 4], ["train", "train", "train", "dev", "test", "test"][n % 6])
    for n in range(96)
] + [(None, None)] * 5


@pytest.fixture
def project(owner: Actor) -> Project:
    project = factories.make_project(owner, "Housings", ("good", "scratch", "dent"))
    model_support.add_images(project, MIX)
    return project


@pytest.fixture
def model(project: Project, owner: Actor, tmp_path: Path) -> ModelVersion:
    return model_support.train_model(project, owner, tmp_path / "bundle")


def base(model: ModelVersion) -> str:
    return f"/projects/{model.project_id}/models/{model.id}"


def predictions(model: ModelVersion, split: str | None = "test") -> list[Prediction]:
    with new_session() as session:
        query = select(Prediction).where(Prediction.model_id == model.id).order_by(Prediction.image_id)
        return [row for row in session.scalars(query) if split is None or row.split == split]


def answer(row: Prediction, manifest: BundleManifest, threshold: float) -> int:
    """The decision rule, in plain words."""
    ids = [category.id for category in manifest.categories]
    good = next(index for index, category in enumerate(manifest.categories) if category.is_good)
    if 1 - row.scores[good] < threshold:
        return ids[good]
    others = [(score, -index) for index, score in enumerate(row.scores) if index != good]
    return ids[-max(others)[1]]


def shown_images(html: str) -> list[int]:
    return [int(number) for number in re.findall(r"/images/(\d+)/thumb", html)]


def all_shown(browser: TestClient, address: str) -> list[int]:
    """Return the images of a gallery, read to its end as scrolling does."""
    seen: list[int] = []
    url: str | None = address
    while url:
        headers = {"HX-Request": "true", "HX-Request-Type": "partial"} if "cursor" in url else {}
        html = browser.get(url, headers=headers).text
        seen += shown_images(html)
        found = re.search(r'class="sentinel" hx-get="([^"]+)"', html)
        url = found[1].replace("&amp;", "&") if found else None
    return seen


# --- publishing ------------------------------------------------------------------------------------------------------


def test_publishing_stores_files_rows_and_a_numbered_name(model: ModelVersion) -> None:
    assert model.name == "Model 1"
    assert json.loads(blobs().read(f"{model.bundle_key}/manifest.json"))["name"] == "Model 1"
    assert model.n_bytes > blobs().local_path(f"{model.bundle_key}/model.onnx").stat().st_size
    rows = predictions(model, None)
    assert len(rows) == len(MIX)
    manifest = registry_service.manifest_of(model)
    for row in rows:
        assert row.predicted_category_id == answer(row, manifest, model.threshold)
        unlabelled = row.true_category_id is None
        assert row.is_wrong == (None if unlabelled else row.true_category_id != row.predicted_category_id)


def test_a_job_publishes_once(model: ModelVersion, tmp_path: Path) -> None:
    with transaction() as session:
        job = session.get(Job, model.job_id)
        again = registry_service.publish(
            session,
            job=job,
            name="Other",
            bundle_dir=tmp_path / "bundle",
            manifest=registry_service.manifest_of(model),
            metrics={},
            tables={},
            predictions=[],
        )
        assert again.id == model.id
        assert session.scalar(select(func.count()).select_from(ModelVersion)) == 1
        assert session.scalar(select(func.count()).select_from(Prediction)) == len(MIX)


def test_a_rollback_takes_the_stored_files_away(
    project: Project, owner: Actor, model: ModelVersion, tmp_path: Path
) -> None:
    with new_session(writes=True) as session:
        published = registry_service.publish(
            session,
            job=model_support.make_job(session, project, owner, 1),
            name=None,
            bundle_dir=tmp_path / "bundle",
            manifest=registry_service.manifest_of(model),
            metrics={},
            tables={},
            predictions=[],
        )
        prefix = published.bundle_key
        assert blobs().exists(f"{prefix}/manifest.json")
        session.rollback()
    assert not blobs().exists(f"{prefix}/manifest.json")
    assert blobs().exists(f"{model.bundle_key}/manifest.json")


def test_names_never_clash(project: Project, owner: Actor, model: ModelVersion, tmp_path: Path) -> None:
    named = [
        model_support.train_model(project, owner, tmp_path / "b", name=name).name for name in (None, "Mine", "Mine")
    ]
    assert named == ["Model 2", "Mine", "Mine (2)"]


def test_thousands_of_predictions_are_published_and_reported_fast(
    project: Project, owner: Actor, model: ModelVersion, browser: TestClient, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    manifest = registry_service.manifest_of(model)
    category_ids = [category.id for category in manifest.categories]
    with transaction() as session:
        first = session.scalar(select(func.max(Image.id))) + 1
        session.execute(
            Image.__table__.insert(),
            [
                {
                    "id": first + n,
                    "project_id": project.id,
                    "name": f"{n}.png",
                    "sha256": f"{n:064x}",
                    "blob_key": "x",
                    "format": "png",
                    "mode": "L",
                    "width_px": 10,
                    "height_px": 10,
                    "n_bytes": 1,
                    "is_labelled": True,
                    "version": 0,
                    "uploaded_at": utc_now(),
                }
                for n in range(3000)
            ],
        )
        said = [
            scored(first + n, "test", category_ids[int(rng.integers(3))], tuple(rng.dirichlet([1, 1, 1])))
            for n in range(3000)
        ]
        job = model_support.make_job(session, project, owner, 3000)
        started = time.process_time()  # of this process alone: the machine may be busy with other tests
        big = registry_service.publish(
            session,
            job=job,
            name=None,
            bundle_dir=tmp_path / "bundle",
            manifest=manifest,
            metrics={},
            tables={},
            predictions=said,
        )
        assert time.process_time() - started < 3.0
    browser.get(base(big))
    headers = {"HX-Request": "true", "HX-Request-Type": "partial"}
    spent = []
    for threshold in (0.31, 0.47, 0.52):
        started = time.process_time()
        assert browser.get(f"{base(big)}?threshold={threshold}", headers=headers).status_code == 200
        spent.append(time.process_time() - started)
    assert min(spent) < 0.1, spent


# --- report ----------------------------------------------------------------------------------------------------------


def test_the_report_says_what_was_counted(browser: TestClient, model: ModelVersion) -> None:
    manifest = registry_service.manifest_of(model)
    good = manifest.categories[0].id
    for threshold in (0.2, 0.5, 0.8):
        page = browser.get(f"{base(model)}?threshold={threshold}")
        rows = predictions(model)
        bad = [row for row in rows if row.true_category_id != good]
        missed = sum(answer(row, manifest, threshold) == good for row in bad)
        refused = sum(answer(row, manifest, threshold) != good for row in rows if row.true_category_id == good)
        n_bad, n_good = len(bad), len(rows) - len(bad)
        first = f"Of {n_bad} defective parts it finds {n_bad - missed} and misses {missed}"
        sentence = f"{first}; of {n_good} good parts it refuses {refused}."
        assert sentence in page.text


def test_dragging_the_slider_answers_only_what_changes(browser: TestClient, model: ModelVersion) -> None:
    headers = {"HX-Request": "true", "HX-Request-Type": "partial"}
    answer_ = browser.get(f"{base(model)}?threshold=0.3&split=dev&which=right", headers=headers)
    assert answer_.status_code == 200
    assert answer_.text.lstrip().startswith('<div class="report" id="figures">')
    assert "<html" not in answer_.text
    assert 'value="right" id="which"' in answer_.text


def test_each_cell_of_the_matrix_opens_its_images(browser: TestClient, model: ModelVersion) -> None:
    manifest = registry_service.manifest_of(model)
    opened = 0
    for threshold in (0.3, 0.6):
        page = browser.get(f"{base(model)}?threshold={threshold}").text
        for href, count in re.findall(
            r'class="confusion__link" href="([^"]+)"[^>]*>(\d+)<', page.replace("&amp;", "&")
        ):
            true, predicted = (int(re.search(rf"{name}=(\d+)", href)[1]) for name in ("true", "predicted"))
            wanted = [
                row.image_id
                for row in predictions(model)
                if row.true_category_id == true and answer(row, manifest, threshold) == predicted
            ]
            assert sorted(shown_images(browser.get(href).text)) == wanted
            assert len(wanted) == int(count)
            opened += 1
    assert opened >= 6


def test_galleries_read_on_by_keyset(browser: TestClient, model: ModelVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.registry.screens.GALLERY_SIZE", 7)
    seen = all_shown(browser, f"{base(model)}/images?split=train")
    assert sorted(seen) == [row.image_id for row in predictions(model, "train")]
    assert len(seen) == len(set(seen))


def test_the_pages_stay_within_their_statements(browser: TestClient, model: ModelVersion) -> None:
    """Project, model with all it hangs together with, images; the predictions once more when they are not kept yet."""
    statements: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        if "user_session" not in statement:
            statements.append(statement)

    browser.get(base(model))
    for path in (base(model), f"{base(model)}/images", f"/projects/{model.project_id}/models"):
        event.listen(get_engine(), "before_cursor_execute", note)
        try:
            assert browser.get(path).status_code == 200
        finally:
            event.remove(get_engine(), "before_cursor_execute", note)
        assert len([one for one in statements if one.startswith("SELECT")]) <= 3, (path, statements)
        statements.clear()


def test_a_project_without_models_says_how_to_get_one(browser: TestClient, owner: Actor) -> None:
    project = factories.make_project(owner, "Empty")
    assert "No model yet" in browser.get(f"/projects/{project.id}/models").text
    assert browser.get(f"/projects/{project.id}/models/compare").status_code == 200


def test_a_split_without_images_and_a_missing_class_are_said(browser: TestClient, owner: Actor, tmp_path: Path) -> None:
    project = factories.make_project(owner, "Odd", ("good", "scratch"))
    model_support.add_images(project, [("good", "train"), ("scratch", "train")] * 6 + [("good", "test")] * 3, seed=300)
    model = model_support.train_model(project, owner, tmp_path / "odd")
    page = browser.get(base(model)).text
    assert "No image of “scratch” in test" in page
    assert "n/a" in page
    assert "No image in dev" in browser.get(f"{base(model)}?split=dev").text


def test_without_a_good_class_the_threshold_means_unsure(browser: TestClient, owner: Actor, tmp_path: Path) -> None:
    project = factories.make_project(owner, "Kinds", ("plain", "scratch", "dent"))
    model_support.add_images(
        project,
        [(["plain", "scratch", "dent"][n % 3], ["train", "train", "test"][n // 3 % 3]) for n in range(72)],
        seed=400,
    )
    model = model_support.train_model(project, owner, tmp_path / "kinds", threshold=0.7)
    page = browser.get(base(model)).text
    assert "Unsure below a score of" in page
    rows = predictions(model)
    unsure = sorted(row.image_id for row in rows if max(row.scores) < 0.7)
    found = browser.get(f"{base(model)}/images?which=unsure&split=test").text
    assert sorted(shown_images(found)) == unsure
    assert browser.get(f"{base(model)}?threshold=1").status_code == 200
    assert browser.get(f"{base(model)}?threshold=0").status_code == 200


@pytest.mark.parametrize(
    "query",
    ["threshold=2", "threshold=nan", "split=all", "cursor=xx", "true=99999999999999999999", "which=" + "x" * 50],
)
def test_addresses_that_mean_nothing_are_refused(browser: TestClient, model: ModelVersion, query: str) -> None:
    assert browser.get(f"{base(model)}/images?{query}").status_code == 422


# --- heat maps -------------------------------------------------------------------------------------------------------


def test_a_heat_map_covers_the_image_and_is_kept(browser: TestClient, model: ModelVersion) -> None:
    row = predictions(model)[0]
    found = browser.get(f"{base(model)}/heat/{row.image_id}.png")
    assert found.status_code == 200
    assert found.headers["content-type"] == "image/png"
    assert found.headers["x-content-type-options"] == "nosniff"
    assert found.headers["cache-control"].startswith("private")
    picture = Picture.open(io.BytesIO(found.content)).convert("RGBA")
    assert picture.size[0] == picture.size[1]
    with new_session() as session:
        sha256 = session.get(Image, row.image_id).sha256
    assert blobs().read(keys.heat_map(model.project_id, model.id, sha256)) == found.content


def test_a_heat_map_is_brightest_at_the_defect(browser: TestClient, model: ModelVersion) -> None:
    """The scratch is a bright line: the hottest rows are its rows."""
    scratch = registry_service.manifest_of(model).categories[1].id
    row = max((row for row in predictions(model, None) if row.true_category_id == scratch), key=lambda row: row.score)
    overlay = Picture.open(io.BytesIO(browser.get(f"{base(model)}/heat/{row.image_id}.png").content)).convert("RGBA")
    with new_session() as session:
        original = Picture.open(io.BytesIO(blobs().read(session.get(Image, row.image_id).blob_key))).convert("L")
    heat = np.asarray(overlay.resize((48, 48)))[..., 3].astype(float).mean(axis=1)
    line = int(np.asarray(original, dtype=float).mean(axis=1).argmax())
    assert abs(int(heat.argmax()) - line) <= 6


def test_an_image_that_a_model_knows_nothing_of_has_no_heat_map(browser: TestClient, model: ModelVersion) -> None:
    assert browser.get(f"{base(model)}/heat/999999.png").status_code == 404
    assert browser.get(f"{base(model)}/images/999999").status_code == 404


def test_one_image_shows_every_score(browser: TestClient, model: ModelVersion) -> None:
    row = predictions(model)[0]
    page = browser.get(f"{base(model)}/images/{row.image_id}").text
    for score in row.scores:
        assert f"{score:.3f}" in page


# --- what can be done with a model -----------------------------------------------------------------------------------


def test_a_model_that_serves_cannot_be_deleted(browser: TestClient, owner: Actor, model: ModelVersion) -> None:
    with transaction() as session:
        deployment = Deployment(project_id=model.project_id, name="Line 4", model_id=model.id, threshold=0.5)
        session.add(deployment)
    refused = browser.post(f"{base(model)}/delete")
    assert refused.status_code == 409
    assert "Line 4" in refused.text
    with transaction() as session:
        session.execute(update(Deployment).values(deleted_at=utc_now()))
    assert browser.post(f"{base(model)}/delete").status_code == 303
    assert not blobs().exists(f"{model.bundle_key}/manifest.json")
    assert browser.get(base(model)).status_code == 404
    with new_session() as session:
        assert session.scalar(select(func.count()).select_from(Prediction)) == 0


def test_renaming(browser: TestClient, project: Project, owner: Actor, model: ModelVersion, tmp_path: Path) -> None:
    model_support.train_model(project, owner, tmp_path / "b", name="Taken")
    assert browser.get(f"{base(model)}/rename").status_code == 200
    assert browser.post(f"{base(model)}/rename", data={"name": "  For  line 4 "}).status_code == 303
    assert "For line 4" in browser.get(base(model)).text
    assert browser.post(f"{base(model)}/rename", data={"name": "Taken"}).status_code == 409
    assert browser.post(f"{base(model)}/rename", data={"name": "   "}).status_code == 422


def test_the_bundle_downloads_as_a_zip_that_runs(browser: TestClient, model: ModelVersion) -> None:
    found = browser.get(f"{base(model)}/bundle.zip")
    assert found.headers["content-type"] == "application/zip"
    archive = zipfile.ZipFile(io.BytesIO(found.content))
    assert archive.testzip() is None
    assert sorted(archive.namelist()) == ["manifest.json", "model.onnx"]
    BundleManifest.model_validate_json(archive.read("manifest.json"))
    onnx.checker.check_model(onnx.load_from_string(archive.read("model.onnx")))


def test_names_are_shown_as_text(browser: TestClient, project: Project, owner: Actor, tmp_path: Path) -> None:
    model = model_support.train_model(project, owner, tmp_path / "x", name="<img src=x onerror=alert(1)>")
    for path in (base(model), f"/projects/{project.id}/models", f"{base(model)}/images", f"{base(model)}/rename"):
        assert "<img src=x" not in browser.get(path).text


def test_another_projects_model_is_not_found(
    browser: TestClient, program: TestClient, owner: Actor, model: ModelVersion
) -> None:
    other = factories.make_project(owner, "Other")
    image_id = predictions(model)[0].image_id
    stem = f"/projects/{other.id}/models/{model.id}"
    for path in ("", "/images", f"/images/{image_id}", f"/heat/{image_id}.png", "/bundle.zip", "/rename"):
        assert browser.get(stem + path).status_code == 404, path
    assert browser.post(f"{stem}/delete").status_code == 404
    assert browser.post(f"{stem}/rename", data={"name": "x"}).status_code == 404
    for path in ("", "/predictions", "/bundle.zip"):
        assert program.get(f"/v1{stem}{path}").status_code == 404, path
    assert program.delete(f"/v1{stem}").status_code == 404
    assert program.post(f"/v1{stem}/download").status_code == 404
    assert program.get(f"/v1/projects/{other.id}/train/{model.job_id}/results/metrics").status_code == 404


def test_what_a_role_may_not_do_is_neither_offered_nor_done(
    people: dict[Role, Actor], browser_as: Callable[[Actor], TestClient], model: ModelVersion
) -> None:
    viewer = browser_as(people[Role.VIEWER])
    page = viewer.get(base(model)).text
    assert 'id="deploy"' not in page
    assert "/delete" not in page
    assert viewer.post(f"{base(model)}/delete").status_code == 403
    assert viewer.post(f"{base(model)}/rename", data={"name": "x"}).status_code == 403


# --- comparison ------------------------------------------------------------------------------------------------------


@pytest.fixture
def other_model(project: Project, owner: Actor, model: ModelVersion, tmp_path: Path) -> ModelVersion:
    return model_support.train_model(project, owner, tmp_path / "other", threshold=0.35, strength=0.8)


def test_two_models_are_compared_on_the_same_images(
    browser: TestClient, model: ModelVersion, other_model: ModelVersion
) -> None:
    url = f"/projects/{model.project_id}/models/compare?a={model.id}&b={other_model.id}&split=test"
    page = browser.get(url).text
    first, second = predictions(model), predictions(other_model)
    right = [(not a.is_wrong, not b.is_wrong) for a, b in zip(first, second, strict=True)]
    for cell, wanted in (
        ("both_right", (True, True)),
        ("only_a", (True, False)),
        ("only_b", (False, True)),
        ("both_wrong", (False, False)),
    ):
        ids = [row.image_id for row, pair in zip(first, right, strict=True) if pair == wanted]
        shown = all_shown(browser, f"{url}&cell={cell}")
        assert shown == [image_id for image_id in ids for _side in "AB"]
    assert f"{len(first)} images in the test split of both" in page


def test_images_that_one_model_was_fitted_on_are_left_out(
    browser: TestClient, project: Project, owner: Actor, model: ModelVersion, tmp_path: Path
) -> None:
    moved = [row.image_id for row in predictions(model)][:4]
    with transaction() as session:
        session.execute(update(Image).where(Image.id.in_(moved)).values(split="train"))
    newer = model_support.train_model(project, owner, tmp_path / "newer")
    page = browser.get(f"/projects/{project.id}/models/compare?model={model.id}&model={newer.id}&split=test").text
    assert "4 images that one model holds out" in page
    assert f"{len(predictions(newer))} images in the test split of both" in page


def test_comparing_needs_two_models_of_the_project(
    browser: TestClient, owner: Actor, model: ModelVersion, other_model: ModelVersion
) -> None:
    stem = f"/projects/{model.project_id}/models/compare"
    for query in ("", f"?model={model.id}", f"?a={model.id}&b={model.id}"):
        page = browser.get(stem + query)
        assert page.status_code == 200
        assert "Compare two models" in page.text
    elsewhere = factories.make_project(owner, "Elsewhere")
    page = browser.get(f"/projects/{elsewhere.id}/models/compare?a={model.id}&b={other_model.id}")
    assert model.name not in page.text


# --- REST ------------------------------------------------------------------------------------------------------------


def test_models_over_rest(program: TestClient, model: ModelVersion, other_model: ModelVersion) -> None:
    stem = f"/v1/projects/{model.project_id}/models"
    first = program.get(f"{stem}?limit=1").json()
    assert [item["name"] for item in first["data"]] == ["Model 2"]
    second = program.get(f"{stem}?limit=1&cursor={first['nextCursor']}").json()
    assert [item["id"] for item in second["data"]] == [str(model.id)]
    assert second["nextCursor"] is None
    shown = program.get(f"{stem}/{model.id}").json()["data"]
    assert shown["trainingId"] == str(model.job_id)
    assert set(shown["metrics"]) == {"train", "dev", "test"}
    download = program.post(f"{stem}/{model.id}/download", json={"threshold": 0.25}).json()["data"]
    assert download["threshold"] == 0.25
    assert program.post(f"{stem}/{model.id}/download").json()["data"]["threshold"] == model.threshold
    fetched = program.get(download["downloadUrl"])
    assert zipfile.ZipFile(io.BytesIO(fetched.content)).testzip() is None
    assert program.delete(f"{stem}/{model.id}").status_code == 204
    assert program.get(f"{stem}/{model.id}").status_code == 404


def test_predictions_over_rest(program: TestClient, model: ModelVersion) -> None:
    stem = f"/v1/projects/{model.project_id}/models/{model.id}/predictions"
    items, cursor = [], ""
    while cursor is not None:
        page = program.get(f"{stem}?limit=30{cursor and '&cursor=' + cursor}").json()
        items += page["data"]
        cursor = page["nextCursor"]
    assert len(items) == len(MIX)
    assert abs(sum(items[0]["scores"].values()) - 1) < 1e-5
    unlabelled = program.get(f"{stem}?split=unlabelled").json()["data"]
    assert len(unlabelled) == 5
    assert all(item["groundTruthClassId"] is None for item in unlabelled)


def test_the_contracts_metrics_and_confusion(program: TestClient, model: ModelVersion) -> None:
    stem = f"/v1/projects/{model.project_id}/train/{model.job_id}/results"
    metrics = program.get(f"{stem}/metrics").json()["data"]
    assert [item["name"] for item in metrics] == ["train", "dev", "test"]
    assert set(metrics[0]) == {"name", "classes", "metrics"}
    assert set(metrics[0]["classes"][0]) == {"id", "performance", "recall", "precision"}
    assert set(metrics[0]["metrics"][0]) == {"name", "performance", "recall", "precision"}
    for item in program.get(f"{stem}/confusion-matrix").json()["data"]:
        rows = predictions(model, item["name"])
        kinds = ("correctPredictions", "falseNegativePredictions", "falsePositivePredictions", "misclassifications")
        assert set(item) == {"name", *kinds}
        counts = [entry for kind in kinds for entry in item[kind]]
        assert sum(entry["count"] for entry in counts) == len(rows)
        for entry in counts:
            pair = (entry["groundTruthClassId"], entry["predictedClassId"])
            assert entry["count"] == sum((row.true_category_id, row.predicted_category_id) == pair for row in rows)
        assert all(entry["groundTruthClassId"] == entry["predictedClassId"] for entry in item["correctPredictions"])


def test_figures_of_an_unfinished_training_are_a_conflict(program: TestClient, project: Project, owner: Actor) -> None:
    with transaction() as session:
        job = model_support.make_job(session, project, owner, 1)
    answered = program.get(f"/v1/projects/{project.id}/train/{job.id}/results/metrics")
    assert answered.status_code == 409
    assert answered.json()["type"].endswith("report_not_ready")


def test_in_use_is_an_error_of_the_service(owner: Actor, model: ModelVersion) -> None:
    with transaction() as session:
        session.add(Deployment(project_id=model.project_id, name="Line", model_id=model.id, threshold=0.5))
    with pytest.raises(InUse) as caught, transaction() as session:
        registry_service.delete_model(session, actor=owner, project_id=model.project_id, model_id=model.id)
    assert isinstance(caught.value, AppError)
    assert caught.value.extra["deployments"] == ["Line"]
