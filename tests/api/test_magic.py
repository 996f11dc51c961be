"""Magic click: what a click, a stroke and a box find, what is refused, and who may ask."""

import io
import shutil
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image as Picture

from app.accounts.permissions import Actor, Role
from app.annotations.magic import service as magic_service
from app.annotations.magic.prompts import MAX_POINTS, MAX_PROMPTS
from app.catalog import BACKBONES
from app.contracts.shapes import Mask
from app.contracts.tasks import TaskType
from app.db.tables import Project
from app.images import uploading
from app.images.labels import Extras
from app.inference.rasters import decode_mask
from app.settings import get_settings
from tests import factories

SIZE = (400, 300)
SPOT = (slice(90, 150), slice(120, 200))  # rows, columns
AS_KIZU = {"X-Requested-With": "kizu"}


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    """Without what other tests exported, answers are those of edges and brightness alone."""
    shutil.rmtree(get_settings().cache_dir / "backbones", ignore_errors=True)
    yield
    magic_service.scenes.forget()


@pytest.fixture
def tiles(owner: Actor) -> Project:
    return factories.make_project(owner, "Tiles", ("dent",), TaskType.SEGMENTATION)


@pytest.fixture
def image_id(owner: Actor, tiles: Project) -> int:
    return spotted(owner, tiles)


def spotted(owner: Actor, project: Project) -> int:
    """Upload a rough grey surface with two dark spots, one of them at `SPOT`; return its id."""
    pixels = np.random.default_rng(5).normal(150, 6, SIZE[::-1])
    pixels[SPOT] -= 60
    pixels[220:260, 300:350] -= 60
    out = io.BytesIO()
    Picture.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(out, "PNG")
    out.seek(0)
    outcome = uploading.upload(actor=owner, project_id=project.id, files=[("spots.png", out)], extras=Extras())
    (fate,) = outcome.fates
    assert fate.image_id is not None
    return fate.image_id


def ask(browser: TestClient, project: Project, image_id: int, *prompts: dict, **more):
    url = f"/projects/{project.id}/label/{image_id}/magic"
    return browser.post(url, json={"prompts": list(prompts), **more}, headers=AS_KIZU)


def pixels_of(answer: dict) -> np.ndarray:
    mask = Mask.model_validate(answer["mask"])
    out = np.zeros(SIZE[::-1], bool)
    out[mask.ymin : mask.ymin + mask.height, mask.xmin : mask.xmin + mask.width] = decode_mask(mask)
    return out


def overlap(found: np.ndarray, *spots: tuple[slice, slice]) -> float:
    true = np.zeros_like(found)
    for spot in spots:
        true[spot] = True
    return (found & true).sum() / (found | true).sum()


CLICK = {"points": [[160, 120]]}
OTHER = {"points": [[325, 240]]}


def test_a_click_finds_what_stands_out_and_more_clicks_add_and_take_away(
    browser: TestClient, tiles: Project, image_id: int
) -> None:
    warmed = browser.get(f"/projects/{tiles.id}/label/{image_id}/magic", headers=AS_KIZU)
    assert warmed.json() == {"has_features": False}  # no backbone was exported here: edges and brightness alone
    first = ask(browser, tiles, image_id, CLICK)
    assert first.status_code == 200, first.text
    assert overlap(pixels_of(first.json()), SPOT) > 0.85
    both = ask(browser, tiles, image_id, CLICK, OTHER).json()
    assert overlap(pixels_of(both), SPOT, (slice(220, 260), slice(300, 350))) > 0.85
    again = ask(browser, tiles, image_id, CLICK, OTHER, {"takes": True, **CLICK}).json()
    assert overlap(pixels_of(again), (slice(220, 260), slice(300, 350))) > 0.85


@pytest.mark.parametrize(
    "prompt",
    [{"points": [[130, 100], [150, 120], [190, 140]]}, {"box": {"xmin": 105, "ymin": 75, "xmax": 215, "ymax": 165}}],
)
def test_a_stroke_and_a_box_find_it_too(browser: TestClient, tiles: Project, image_id: int, prompt: dict) -> None:
    answer = ask(browser, tiles, image_id, prompt).json()
    assert overlap(pixels_of(answer), SPOT) > 0.8


def test_the_maps_of_a_backbone_are_used_where_one_is_ready(browser: TestClient, tiles: Project, image_id: int) -> None:
    from worker.ml.backbones.export import exported

    exported(BACKBONES["toy"], image_size_px=64, cache_dir=get_settings().cache_dir)
    answer = ask(browser, tiles, image_id, CLICK).json()
    assert answer["has_features"]
    assert overlap(pixels_of(answer), SPOT) > 0.7


def test_where_boxes_are_drawn_a_box_is_answered(browser: TestClient, owner: Actor) -> None:
    plates = factories.make_project(owner, "Plates", ("dent",), TaskType.DETECTION)
    answer = ask(browser, plates, spotted(owner, plates), CLICK).json()
    assert answer["mask"] is None
    edges = [answer["box"][side] for side in ("xmin", "ymin", "xmax", "ymax")]
    assert np.allclose(edges, [120, 90, 200, 150], atol=4)


@pytest.mark.parametrize(
    "body",
    [
        {"prompts": []},
        {"prompts": [{"points": []}]},
        {"prompts": [{"points": [[401, 20]]}]},
        {"prompts": [{"points": [[-1, 20]]}]},
        {"prompts": [{"points": [[20]]}]},
        {"prompts": [{"points": [["NaN", 20]]}]},
        {"prompts": [{"points": [[1e300, 20]]}]},
        {"prompts": [{"points": [[1, 1]] * (MAX_POINTS + 1)}]},
        {"prompts": [CLICK] * (MAX_PROMPTS + 1)},
        {"prompts": [{**CLICK, "box": {"xmin": 1, "ymin": 1, "xmax": 9, "ymax": 9}}]},
        {"prompts": [{"box": {"xmin": 9, "ymin": 1, "xmax": 9, "ymax": 9}}]},
        {"prompts": [{"box": {"xmin": 1, "ymin": 1, "xmax": 900, "ymax": 9}}]},
        {"prompts": [CLICK], "view": {"xmin": 3, "ymin": 3, "xmax": 2, "ymax": 9}},
        {"prompts": [CLICK], "more": 1},
    ],
)
def test_what_makes_no_sense_is_refused_with_words(
    browser: TestClient, tiles: Project, image_id: int, body: dict
) -> None:
    url = f"/projects/{tiles.id}/label/{image_id}/magic"
    answer = browser.post(url, json=body, headers=AS_KIZU | {"Accept": "application/json"})
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"]


def test_not_a_number_is_refused(browser: TestClient, tiles: Project, image_id: int) -> None:
    url = f"/projects/{tiles.id}/label/{image_id}/magic"
    headers = AS_KIZU | {"Accept": "application/json", "Content-Type": "application/json"}
    answer = browser.post(url, content='{"prompts": [{"points": [[NaN, 1]]}]}', headers=headers)
    assert answer.status_code == 422


def test_only_who_may_label_may_ask(
    browser_as: Callable[[Actor], TestClient], people: dict[Role, Actor], tiles: Project, image_id: int
) -> None:
    assert ask(browser_as(people[Role.VIEWER]), tiles, image_id, CLICK).status_code == 403
    assert ask(browser_as(people[Role.LABELER]), tiles, image_id, CLICK).status_code == 200


def test_an_image_of_another_project_is_not_there(browser: TestClient, owner: Actor, image_id: int) -> None:
    other = factories.make_project(owner, "Others", ("dent",), TaskType.SEGMENTATION)
    assert ask(browser, other, image_id, CLICK).status_code == 404


def test_images_that_carry_classes_have_no_magic(browser: TestClient, owner: Actor) -> None:
    cells = factories.make_project(owner, "Cells", ("good", "bad"), TaskType.CLASSIFICATION)
    assert ask(browser, cells, spotted(owner, cells), CLICK).status_code == 422


def test_an_image_of_many_pixels_is_looked_at_smaller(
    browser: TestClient, tiles: Project, image_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(magic_service, "MOST_PIXELS", 30_000)
    answer = ask(browser, tiles, image_id, CLICK, view={"xmin": 0, "ymin": 0, "xmax": 400, "ymax": 300}).json()
    assert overlap(pixels_of(answer), SPOT) > 0.8
