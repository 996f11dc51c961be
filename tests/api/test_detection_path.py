"""A detection project's model: its report, galleries and images."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from app.accounts.permissions import Actor
from app.db.session import new_session
from app.db.tables import ModelVersion, Prediction
from tests import shape_support

PARTIAL = {"HX-Request": "true", "HX-Request-Type": "partial"}


@pytest.fixture
def model(owner: Actor, tmp_path: Path) -> ModelVersion:
    return shape_support.publish_detector(shape_support.make_project(owner), owner, tmp_path / "bundle")


@pytest.fixture
def rows(model: ModelVersion) -> list[Prediction]:
    with new_session() as session:
        query = select(Prediction).where(Prediction.model_id == model.id).order_by(Prediction.image_id)
        return list(session.scalars(query))


def stem(model: ModelVersion) -> str:
    return f"/projects/{model.project_id}/models/{model.id}"


def test_an_image_is_wrong_where_something_is_missed_or_extra(rows: list[Prediction]) -> None:
    wrong = [row.is_wrong for row in rows]
    assert wrong[:18] == [kind in {"missed", "extra", "mixed"} for kind in shape_support.PLAN for _ in range(3)]
    assert wrong[-2:] == [None, None]
    clean = rows[12]
    assert (clean.predicted_category_id, clean.ng_score, clean.shapes, clean.drawn) == (None, 0.0, [], [])


def test_the_report_says_what_is_found_missed_and_mixed_up(browser: TestClient, model: ModelVersion) -> None:
    page = browser.get(stem(model))
    assert page.status_code == 200
    assert "mAP50-95" in page.text
    # A split has 3 images of each kind but 6 right ones: 12 + 6 + 3 + 3 boxes are drawn, of which 3 + 3 are not found.
    assert "Of 24 drawn boxes it finds 18 and misses 6; 6 of its 24 finds are not right." in page.text
    assert "it calls NG 15 of 15 with a defect and 0 of 3 without" in page.text
    part = browser.get(stem(model), params={"threshold": 1.0}, headers=PARTIAL)
    assert part.text.lstrip().startswith("<div")
    assert "it finds 0 and misses 24" in part.text
    assert "overlay__shape--drawn" in part.text


@pytest.mark.parametrize(
    ("which", "n"), [("missed", 3), ("false_alarms", 3), ("mixed_up", 3), ("right", 9), ("all", 18)]
)
def test_each_gallery_holds_its_images(browser: TestClient, model: ModelVersion, which: str, n: int) -> None:
    page = browser.get(f"{stem(model)}/images", params={"which": which}).text
    assert page.count("tile__link") == n
    assert browser.get(f"{stem(model)}/images", params={"split": "unlabelled"}).text.count("tile__link") == 2


def test_a_cell_of_the_matrix_opens_its_images(browser: TestClient, model: ModelVersion) -> None:
    bright, dark = (category["id"] for category in model.manifest["categories"])
    for query, n in (
        ({"true": bright, "predicted": dark}, 3),
        ({"true": bright, "predicted": bright}, 9),
        ({"which": "missed", "true": dark}, 3),
        ({"which": "missed", "true": bright}, 0),
        ({"which": "false_alarms", "predicted": bright}, 3),
    ):
        page = browser.get(f"{stem(model)}/images", params=query).text
        assert page.count("tile__link") == n, query


def test_an_image_shows_each_shape_and_what_became_of_it(
    browser: TestClient, model: ModelVersion, rows: list[Prediction]
) -> None:
    missed, extra, mixed, clean = (browser.get(f"{stem(model)}/images/{rows[n].image_id}").text for n in (3, 6, 9, 12))
    assert "The answer is wrong: 1 missed." in missed
    assert "nothing drawn there" in extra
    assert "drawn as another class" in mixed
    assert "there is nothing to mark" in clean
    assert 'd="M8 24h16v16h-16z"' in missed
    none = browser.get(f"{stem(model)}/images/{rows[0].image_id}", params={"threshold": 1.0}).text
    assert "Nothing reaches the threshold." in none
    assert "2 below the threshold" in none
