"""Visual prompting by a real mouse: strokes of two classes on one image, masks on all, and labels made of them."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.drawing import Drawing, Hand, Spot, overlap, pixels, upload_spotted
from tests.browser.support import axe_violations, overflow_px, settle

pytestmark = [pytest.mark.browser, pytest.mark.slow]

# Where each image has a dark and a bright spot.
DENTS: list[Spot] = [(100, 120, 260, 240), (300, 60, 460, 180), (60, 280, 220, 400)]
STAINS: list[Spot] = [(380, 280, 540, 400), (80, 300, 240, 420), (400, 80, 560, 200)]
FINISHED_MS = 60_000  # the first run exports the backbone


@pytest.fixture
def project_id(parts: Drawing) -> int:
    made = parts.rest.ask("POST", "/v1/projects", json={"name": "Castings", "projectType": "segmentation"})
    classes = {"0": {"name": "dent"}, "1": {"name": "stain"}}
    parts.rest.ask("POST", f"/v1/projects/{made['id']}/classes", json=classes)
    return made["id"]


def finished(page: Page) -> None:
    expect(page.locator(".prompt-bar__state")).to_contain_text("Masks on 3 of 3 images", timeout=FINISHED_MS)


def got(page: Page, path: str) -> dict:
    """Return what the editor reads."""
    return page.request.get(path, headers={"X-Requested-With": "kizu"}).json()


def test_a_few_strokes_mark_every_image_and_become_labels(page: Page, parts: Drawing, project_id: int) -> None:
    ids = [upload_spotted(parts.rest, project_id, [dent], [stain]) for dent, stain in zip(DENTS, STAINS, strict=True)]
    base = f"{parts.url}/projects/{project_id}"
    hand = Hand(page, parts.url, project_id)
    hand.open(ids[0])
    page.get_by_role("link", name="Prompt").click()
    page.wait_for_url("**/prompt")
    page.locator(f"#result-{ids[0]} a").click()
    expect(page.locator("#annotator")).to_have_attribute("image-id", str(ids[0]))
    settle(page)
    hand.ready()
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_disabled()
    page.get_by_text("After each stroke").click()  # off: all strokes are one run

    hand.drag((130, 150), (230, 180), (140, 210))
    page.keyboard.press("2")
    hand.drag((410, 310), (510, 340), (420, 370))
    hand.drag((20, 30), (600, 40), button="right")
    hand.drag((30, 440), (600, 450), button="right")
    hand.move(320, 260)
    dent, stain = hand.colour(130, 150), hand.colour(410, 310)
    assert dent[3] > 150
    assert stain[3] > 150
    assert dent[:3] != stain[:3]
    assert hand.colour(320, 100)[3] == 0
    expect(page.locator("[data-part=saved]")).to_have_text("Saved")
    strokes = got(page, f"{base}/prompt/{ids[0]}/strokes")["strokes"]
    names = {one["id"]: one["name"] for one in parts.rest.ask("GET", f"/v1/projects/{project_id}/classes")}
    assert [names.get(one["category_id"]) for one in strokes] == ["dent", "stain", None, None]
    assert strokes[1]["points"][:2] == pytest.approx((410, 310), abs=2)

    page.keyboard.press("r")
    finished(page)
    expect(page.locator("#prompt-tiles .tile:has(.marks__mask)")).to_have_count(3)
    expect(page.locator("#prompt-found .marks__mask")).not_to_have_count(0)
    settle(page)
    assert axe_violations(page) == []
    assert overflow_px(page) == 0
    page.locator(f"#result-{ids[1]} a").click()
    expect(page.locator("#annotator")).to_have_attribute("image-id", str(ids[1]))
    expect(page.locator("#prompt-found .marks__mask")).not_to_have_count(0)

    def use_as_labels() -> None:
        page.get_by_role("button", name="Use as labels").first.click()
        page.locator("#prompt-use").get_by_role("button", name="Use as labels").click()
        expect(page.locator(".toast").last).to_contain_text("3 images labelled from masks")

    use_as_labels()
    for image_id, *spots in zip(ids, DENTS, STAINS, strict=True):
        shapes = got(page, f"{base}/label/{image_id}/shapes")["shapes"]
        for name, spot in zip(("dent", "stain"), spots, strict=True):
            own = [pixels(one["mask"]) for one in shapes if names[one["category_id"]] == name]
            assert overlap(sum(own) > 0, spot) > 0.6, f"{name} on image {image_id}"
    page.locator(".toast").get_by_role("button", name="Undo").click()
    expect(page.get_by_role("button", name="Use as labels").first).to_be_visible()
    assert [got(page, f"{base}/label/{image_id}/shapes")["shapes"] for image_id in ids] == [[], [], []]
    use_as_labels()
    hand.open(ids[2])
    hand.move(10, 10)
    assert hand.colour(140, 340)[3] > 60
    assert hand.colour(480, 140)[3] > 60
    assert hand.colour(320, 240)[3] == 0
