"""The main job as a person does it: from nothing to an endpoint that a program calls, in one sitting."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.journey import LONG_MS, Journey, run, seconds
from tests.browser.support import (
    EMAIL,
    PASSWORD,
    Complaints,
    RunningKizu,
    forget_shift,
    new_context,
    settle,
    solar_cells,
)

N_LABELLED, N_LOOSE = 160, 12


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.timeout(420)
def test_from_nothing_to_an_endpoint_that_a_program_calls(
    kizu: RunningKizu, chromium: Browser, keep: Callable[[Page, str], None], tmp_path: Path
) -> None:
    context = new_context(chromium)
    context.grant_permissions(["clipboard-read", "clipboard-write", "camera"], origin=kizu.url)
    page = context.new_page()
    complaints = Complaints()
    complaints.listen(page)
    journey = Journey(page=page, url=kizu.url, keep=keep, complaints=complaints)

    comes_in(journey)
    creates_a_project(journey)
    drops_a_folder_whose_names_become_classes(journey, tmp_path / "parts")
    chooses_files_of_which_some_are_no_images(journey, tmp_path / "more")
    labels_by_keys(journey)
    changes_many_at_once(journey)
    splits(journey)
    first_s = seconds(lambda: trains(journey, picture="train-running-light"))
    reads_the_report(journey)
    moves_the_threshold(journey)
    opens_a_cell_of_the_matrix(journey)
    deploys(journey)
    calls_it_from_programs(journey, tmp_path / "line")
    tries_pictures(journey)
    looks_at_the_calls(journey)
    second_s = seconds(lambda: trains(journey, picture=None))
    assert second_s < first_s, "the features of the first training were not used again"
    compares_both_models(journey)
    context.close()


def comes_in(journey: Journey) -> None:
    page = journey.page
    page.goto(journey.url)
    page.wait_for_url("**/signin**")
    page.get_by_label("Email").fill(EMAIL)
    page.get_by_label("Password").fill("not this one")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    journey.complaints.taken()  # the refusal is what was asked for
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/projects")
    expect(page.locator(".ways__way")).to_have_count(3)
    journey.all_is_well("projects-empty")


def creates_a_project(journey: Journey) -> None:
    page = journey.page
    page.get_by_role("link", name="New project").click()
    page.get_by_label("Name").fill("Solar cells")
    page.get_by_label("Classification").check()
    page.get_by_role("button", name="Create project").click()
    page.wait_for_url("**/data")
    expect(page.get_by_role("heading", name="Start with your images")).to_be_visible()
    journey.all_is_well("data-empty")


def drops_a_folder_whose_names_become_classes(journey: Journey, folder: Path) -> None:
    for name, probability in (("functional", 0.0), ("defective", 1.0)):
        (folder / name).mkdir(parents=True)
        for cell in solar_cells(probability, N_LABELLED // 2):
            shutil.copy(cell, folder / name)
    page = journey.page
    page.get_by_label("Folder names become classes").check()
    journey.drop(folder)
    journey.uploaded(f"{N_LABELLED} uploaded")
    journey.keep(page, "upload-tray")
    page.get_by_role("button", name="Close").last.click()
    expect(page.locator(".data-side__head")).to_contain_text(f"{N_LABELLED} images")
    for name in ("functional", "defective"):
        entry = page.locator("#facet-class .facet__entry", has_text=name)
        expect(entry.locator(".facet__count")).to_have_text(str(N_LABELLED // 2))
    thumbnails_are_shown(page)


def thumbnails_are_shown(page: Page) -> None:
    settle(page)
    widths = page.locator(".tile__image").evaluate_all(
        "all => all.filter(i => i.getBoundingClientRect().top < innerHeight).map(i => i.complete && i.naturalWidth)"
    )
    assert widths
    assert all(widths)


def loose_cells(probability: float) -> list[Path]:
    """Return the cells that come without a folder."""
    return solar_cells(probability, N_LOOSE // 2, skip=N_LABELLED // 2)


def chooses_files_of_which_some_are_no_images(journey: Journey, folder: Path) -> None:
    folder.mkdir()
    loose = [*loose_cells(0.0), *loose_cells(1.0)]
    twice = solar_cells(1.0, 1)[0]
    bad = {
        "empty.png": b"",
        "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        "renamed.png": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        "cut-off.png": loose[0].read_bytes()[:4000],
    }
    for name, content in bad.items():
        (folder / name).write_bytes(content)
    page = journey.page
    page.get_by_role("button", name="Add images").click()
    page.get_by_label("Folder names become classes").uncheck()
    with page.expect_file_chooser() as chooser:
        page.get_by_text("Choose files").click()
    chooser.value.set_files([*loose, twice, *(folder / name for name in bad)])
    journey.uploaded(f"{N_LOOSE} uploaded, 1 duplicate skipped, {len(bad)} refused")
    fates = journey.fates()
    for name in bad:
        assert fates[name].startswith("refused"), fates
        assert len(fates[name]) > len("refused "), f"nothing is said of why {name} was refused"
    assert "SVG" in fates["renamed.png"]
    assert fates[twice.name].startswith("duplicate")
    journey.all_is_well("upload-refused")
    page.get_by_role("button", name="Close").last.click()
    expect(page.locator(".data-side__head")).to_contain_text(f"{N_LABELLED + N_LOOSE} images")


def labels_by_keys(journey: Journey) -> None:
    page = journey.page
    journey.go("Label")
    expect(page.locator("#annotator")).to_be_visible()
    truth = {path.name: "functional" for path in loose_cells(0.0)}
    truth |= {path.name: "defective" for path in loose_cells(1.0)}
    for n_done in range(6):
        name = page.locator(".annotator__status .clip").inner_text()
        class_key(page, truth[name])
        expect(progress(page)).to_have_text(f"{N_LABELLED + n_done + 1} of {N_LABELLED + N_LOOSE} labelled")
        expect(page.locator("[data-part=saved]")).to_have_text("Saved")
        if n_done == 2:
            undoes_and_does_again(journey)
            journey.all_is_well("label-light")
        page.keyboard.press("u")
        expect(page.locator(".annotator__status .clip")).not_to_have_text(name)
    here = page.locator(".annotator__status .clip").inner_text()
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".annotator__status .clip")).not_to_have_text(here)
    page.keyboard.press("ArrowRight")
    expect(page.locator(".annotator__status .clip")).to_have_text(here)
    settle(page)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys of this screen")).to_be_visible()
    page.keyboard.press("Escape")


def class_key(page: Page, name: str) -> None:
    """Press the key that the list of classes names beside this class."""
    row = page.locator(".classes__row", has=page.locator(".classes__name", has_text=name))
    page.keyboard.press(row.locator("kbd").inner_text())
    expect(row.get_by_role("radio")).to_be_checked()


def progress(page: Page) -> object:
    return page.locator("#label-progress .num")


def undoes_and_does_again(journey: Journey) -> None:
    page = journey.page
    before = page.locator("[name=category_id]:checked").get_attribute("value")
    page.keyboard.press("Control+z")
    expect(page.locator("[name=category_id]:checked")).to_have_attribute("value", "")
    expect(progress(page)).to_have_text(f"{N_LABELLED + 2} of {N_LABELLED + N_LOOSE} labelled")
    page.keyboard.press("Control+Shift+z")
    expect(page.locator("[name=category_id]:checked")).to_have_attribute("value", before)
    expect(progress(page)).to_have_text(f"{N_LABELLED + 3} of {N_LABELLED + N_LOOSE} labelled")


def changes_many_at_once(journey: Journey) -> None:
    page = journey.page
    journey.go("Data")
    tiles = page.locator(".tile")
    tiles.nth(0).locator(".tile__pick").click()
    tiles.nth(3).click(modifiers=["Shift"])
    expect(page.locator(".selection-bar__count")).to_have_text("4 images selected")
    journey.all_is_well("data-selection")
    page.get_by_role("button", name="Tag", exact=True).click()
    page.locator("#bulk-tag input[name=tag]").fill("second shift")
    page.locator("#bulk-tag").get_by_role("button", name="Add").click()
    expect(page.locator("#facet-tag .facet__entry", has_text="second shift").locator(".facet__count")).to_have_text("4")
    expect(page.locator(".selection-bar")).to_be_hidden()  # what was done with is let go
    tiles.nth(0).locator(".tile__pick").click()
    page.get_by_role("button", name="Split", exact=True).click()
    page.locator("#bulk-split").get_by_role("button", name="Test").click()
    test_split = page.locator("#facet-split .facet__entry", has_text="Test")
    expect(test_split.locator(".facet__count")).to_have_text("1")
    expect(page.locator(".selection-bar")).to_be_hidden()
    settle(page)
    tiles.nth(5).click()
    expect(page.locator("#detail")).to_be_visible()
    expect(page).to_have_url(re.compile(r"[?&]image=\d+"))
    settle(page)
    forget_shift(page)  # the grid made room for what was asked for
    journey.all_is_well("data-image-light")


def splits(journey: Journey) -> None:
    page = journey.page
    page.get_by_role("button", name="Auto split").click()
    dialog = page.get_by_role("dialog", name="Split the labelled images")
    expect(dialog.get_by_role("row", name="defective")).to_be_visible()
    journey.all_is_well("auto-split")
    dialog.get_by_role("button", name="Split", exact=True).click()
    expect(dialog).to_be_hidden()
    counts = page.locator("#facet-split .facet__count")
    expect(counts.nth(0)).not_to_have_text("0")


def trains(journey: Journey, *, picture: str | None) -> None:
    """Press Train once, see it work, and follow it to its model."""
    page = journey.page
    journey.go("Train")
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    card = page.locator(f"#{page.locator('article.job').first.get_attribute('id')}")
    if picture:
        expect(card.locator(".steps__step--now")).to_be_visible(timeout=LONG_MS)
        expect(card.get_by_role("progressbar")).to_be_visible()
        expect(card.locator(".chart, .table").first).to_be_visible(timeout=LONG_MS)
        journey.all_is_well(picture)
    finished = card.get_by_role("link", name="Open the model")
    expect(finished).to_be_visible(timeout=LONG_MS)
    finished.click()
    page.wait_for_url("**/models/*")


def reads_the_report(journey: Journey) -> None:
    page = journey.page
    expect(page.locator(".report__f1")).to_contain_text(re.compile(r"0\.\d\d|1\.00"))
    expect(page.locator(".report__f1")).to_contain_text(re.compile(r"\d\.\d\d–\d\.\d\d\)"))
    expect(page.get_by_role("heading", name="Calibration")).to_be_attached()
    expect(page.get_by_role("heading", name="Where it comes from")).to_be_attached()
    expect(page.get_by_role("region", name="Backbones compared")).to_be_attached()
    for tab in page.locator(".tabs__tab").all():
        assert re.search(r"\d", tab.inner_text()), "a pile of images without its count"
    journey.all_is_well("model-light")


def moves_the_threshold(journey: Journey) -> None:
    page = journey.page
    slider = page.locator("#threshold")
    figures = page.locator("#figures")
    before = figures.inner_text()
    slider.focus()
    page.keyboard.press("End")
    expect(page).to_have_url(re.compile(r"[?&]threshold=1\b"))
    expect(figures).not_to_have_text(before)
    expect(page.locator(".threshold__value")).to_have_text("1.00")
    box = slider.bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] - 8, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, y, steps=5)
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"[?&]threshold=0\.(4|5)"))
    settle(page)
    line = page.locator("#scores [data-part=threshold]")
    assert float(re.search(r"translate\(([\d.]+)", line.get_attribute("transform")).group(1)) > 200


def opens_a_cell_of_the_matrix(journey: Journey) -> None:
    page = journey.page
    address = page.url
    cell = page.locator(".confusion__cell--right .confusion__link").first
    n_images, words = int(cell.inner_text()), cell.get_attribute("aria-label")
    name = re.search("labelled (.+), predicted", words).group(1)
    cell.click()
    page.wait_for_url("**/images?**")
    tiles = page.locator(".tile--evidence")
    expect(tiles).to_have_count(n_images)
    assert all(name in text for text in tiles.locator(".tile__marks").all_inner_texts())
    page.get_by_role("switch", name="Heat maps").check()
    expect(tiles.first.locator(".tile__heat")).to_be_visible()
    settle(page)
    assert tiles.first.locator(".tile__heat").evaluate("image => image.complete && image.naturalWidth > 0")
    journey.all_is_well("model-cell-heat")
    page.go_back()
    expect(page).to_have_url(address)
    value = re.search(r"threshold=([\d.]+)", address).group(1)
    expect(page.locator("#threshold")).to_have_value(re.compile(rf"^{re.escape(value)}0*$"))


def deploys(journey: Journey) -> None:
    page = journey.page
    page.get_by_role("button", name="Deploy", exact=True).click()
    page.get_by_label("Name").fill("Line 2, camera 1")
    journey.all_is_well("deploy-new")
    page.get_by_role("button", name="Make endpoint").click()
    page.wait_for_url(re.compile(r"/deploy/[0-9a-f-]{36}"))
    page.get_by_label("Name of a new key").fill("The line's computer")
    page.get_by_role("button", name="Make a key").click()
    expect(page.locator("#new-key")).to_have_text(re.compile(r"^land_sk_\w"))
    journey.all_is_well()


def calls_it_from_programs(journey: Journey, folder: Path) -> None:
    folder.mkdir()
    shutil.copy(solar_cells(1.0, 1, skip=100)[0], folder / "image.png")
    page = journey.page
    answer = json.loads(run(journey.copied(page.locator("#panel-curl")), "bash", folder=folder))
    assert answer["predictions"]["labelName"] in {"functional", "defective"}
    page.get_by_role("tab", name="Python").click()
    printed = run(journey.copied(page.locator("#panel-python")), sys.executable, "-", folder=folder)
    assert printed.split()[0] == answer["predictions"]["labelName"]
    page.reload()
    expect(page.locator("#new-key")).to_have_count(0)
    assert "land_sk_" not in page.content()


def tries_pictures(journey: Journey) -> None:
    page = journey.page
    answer = page.locator("#try-answer")
    page.locator("#try-file").set_input_files(solar_cells(1.0, 1, skip=101)[0])
    expect(answer).to_contain_text("300 × 300 px")
    expect(answer.get_by_alt_text(re.compile("^Heat map"))).to_be_visible()
    journey.all_is_well("endpoint-light")
    page.evaluate(
        """async () => {
          const canvas = Object.assign(document.createElement('canvas'), {width: 321, height: 200});
          canvas.getContext('2d').fillRect(20, 20, 90, 90);
          const blob = await new Promise(done => canvas.toBlob(done, 'image/png'));
          await navigator.clipboard.write([new ClipboardItem({'image/png': blob})]);
        }"""
    )
    page.keyboard.press("Control+v")
    expect(answer).to_contain_text("321 × 200 px")
    page.get_by_role("button", name="Use the webcam").click()
    expect(page.get_by_label("Webcam")).to_be_visible()
    page.get_by_role("button", name="Take the picture").click()
    expect(answer).not_to_contain_text("321 × 200 px")
    expect(answer.get_by_alt_text(re.compile("^Heat map"))).to_be_visible()
    page.get_by_role("button", name="Stop").click()


def looks_at_the_calls(journey: Journey) -> None:
    page = journey.page
    journey.go("Monitor")
    rows = page.locator("tr[id^=call-]")
    expect(rows).to_have_count(5)  # cURL, Python, file, clipboard, webcam
    expect(rows.filter(has_text="(Try)")).to_have_count(3)
    rows.first.get_by_role("checkbox").check()
    page.get_by_role("button", name="Add to dataset").click()
    expect(page.locator("#collected")).to_contain_text("1 image added")
    journey.all_is_well("monitor-collected")


def compares_both_models(journey: Journey) -> None:
    page = journey.page
    journey.go("Models")
    boxes = page.locator("input[name=model]")
    expect(boxes).to_have_count(2)
    for box in boxes.all():
        box.check()
    page.get_by_role("button", name="Compare").click()
    page.wait_for_url("**/compare?**")
    expect(page.get_by_role("heading", name="Two models on the same images")).to_be_visible()
    expect(page.locator(".agree__cell")).to_have_count(4)
    journey.all_is_well("compare-same-images")
