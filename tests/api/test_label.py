"""The Label screen: which image opens, what is around it, saving at once, and two people at the same image."""

import re

import pytest
from sqlalchemy import update

from app.accounts.permissions import Actor, Role
from app.db.session import new_session, transaction
from app.db.tables import Image, Project
from tests import browse_data

PARTIAL = {"HX-Request": "true", "HX-Request-Type": "partial"}


@pytest.fixture
def images(owner: Actor, project: Project) -> list[int]:
    return browse_data.make_rows(owner, project.id, 8)


@pytest.fixture
def root(project: Project) -> str:
    return f"/projects/{project.id}/label"


def stored(image_id: int) -> Image:
    with new_session() as session:
        return session.get(Image, image_id)


def opened(browser, address: str) -> tuple[str, int]:
    """Follow the way to the first image; return where it led, and the image."""
    answer = browser.get(address)
    assert answer.status_code == 303, answer.text
    location = answer.headers["location"]
    return location, int(re.search(r"image=(\d+)", location)[1])


def walk(html: str, where: str) -> str | None:
    found = re.search(rf'data-walk="{where}" href="([^"]*)"', html)
    return found[1].replace("&amp;", "&") if found else None


def save(browser, address: str, image_id: int, category_id: int | str, version: int, **headers):
    data = {"image_id": image_id, "category_id": category_id, "version": version}
    return browser.post(address, data=data, headers=headers or PARTIAL)


def test_without_predictions_the_oldest_unlabelled_image_opens(browser, root, images, classes):
    save(browser, root, images[0], classes[0], 0)
    location, image = opened(browser, root)
    assert image == images[1]
    assert "labelled=no" in location
    assert "since=" in location
    page = browser.get(location)
    assert page.status_code == 200
    assert "1 of 8 labelled" in page.text


def test_with_predictions_the_most_unsure_opens_and_says_why(browser, root, project, images, classes):
    model = browse_data.make_model(project.id, threshold=0.5)
    browse_data.make_predictions(model, images, classes, seed=3)
    location, image = opened(browser, root)
    assert "sort=unsure" in location
    with new_session() as session:
        from app.images import queries, vocabulary
        from app.images.filters import ImageFilter, Sort

        words = vocabulary.load(session, project.id)
        best = queries.list_images(session, project.id, ImageFilter(sort=Sort.UNSURE), model=words.model).items[0]
    assert image == best.id
    html = browser.get(location).text
    assert (
        f"{'unsure' if best.is_unsure else 'good' if best.predicted_id == classes[0] else 'scratch'} {best.score:.2f}"
        in html
    )


def test_a_labelled_image_stays_in_the_queue(browser, root, images, classes):
    location, first = opened(browser, root)
    second = walk(browser.get(location, headers=PARTIAL).text, "next")
    save(browser, location, first, classes[0], 0)
    html = browser.get(second, headers=PARTIAL).text
    assert f"image={first}" in walk(html, "previous")
    assert f'id="strip-{first}"' in html
    # Opened anew, the queue holds only what is unlabelled then.
    assert opened(browser, root)[1] == images[1]


def test_next_unlabelled_passes_over_the_others_and_begins_again(browser, root, images, classes):
    for image in images[1:4]:
        save(browser, root, image, classes[0], 0)
    html = browser.get(f"{root}?sort=oldest&image={images[0]}", headers=PARTIAL).text
    assert f"image={images[4]}" in walk(html, "unlabelled")
    html = browser.get(f"{root}?sort=oldest&image={images[7]}", headers=PARTIAL).text
    assert f"image={images[0]}" in walk(html, "unlabelled")
    assert walk(html, "next") is None


def test_the_order_is_the_grids(browser, root, images):
    html = browser.get(f"{root}?image={images[4]}", headers=PARTIAL).text
    assert f"image={images[3]}" in walk(html, "next")
    assert f"image={images[5]}" in walk(html, "previous")
    assert [int(one) for one in re.findall(r'id="strip-(\d+)"', html)] == sorted(images, reverse=True)


def test_saving_answers_the_next_version_and_what_else_shows_it(browser, root, images, classes):
    answer = save(browser, root, images[0], classes[1], 0)
    assert answer.status_code == 200
    assert 'name="version" value="1"' in answer.text
    assert f'hx-target="#class-count-{classes[1]}" hx-swap="textContent">1<' in answer.text
    assert "1 of 8 labelled" in answer.text
    assert save(browser, root, images[0], "", 1).status_code == 200
    assert stored(images[0]).category_id is None


def test_two_people_at_one_image_are_both_offered(people, browser_as, root, images, classes):
    first, second = browser_as(people[Role.LABELER]), browser_as(people[Role.OWNER])
    save(first, root, images[0], classes[1], 0)
    answer = save(second, root, images[0], classes[0], 0)
    assert answer.status_code == 409
    for said in (people[Role.LABELER].name, "scratch", "good", 'data-conflict="mine"', 'data-version="1"'):
        assert said in answer.text
    assert stored(images[0]).category_id == classes[1]
    assert save(second, root, images[0], classes[0], 1).status_code == 200
    assert stored(images[0]).category_id == classes[0]


def test_a_lost_answer_is_no_conflict(browser, root, images, classes):
    assert save(browser, root, images[0], classes[0], 0).status_code == 200
    again = save(browser, root, images[0], classes[0], 0)
    assert again.status_code == 200
    assert 'name="version" value="1"' in again.text


def test_without_javascript_a_form_with_radio_buttons_does_it(browser, root, images, classes):
    page = browser.get(f"{root}?image={images[0]}&sort=name").text
    assert page.count('type="radio" name="category_id"') == 3
    assert "<noscript><button" in page
    answer = browser.post(f"{root}?sort=name", data={"image_id": images[0], "category_id": classes[0], "version": 0})
    assert (answer.status_code, answer.headers["location"]) == (303, f"{root}?sort=name&image={images[0]}")
    assert stored(images[0]).category_id == classes[0]


@pytest.mark.parametrize(
    "data",
    [
        {"category_id": "x", "version": "0"},
        {"category_id": "1", "version": "-1"},
        {"category_id": "1"},
        {"category_id": "99999", "version": "0"},
        {"category_id": "9999999999", "version": "0"},
    ],
)
def test_junk_is_refused(browser, root, images, data):
    assert browser.post(root, data={"image_id": images[0], **data}, headers=PARTIAL).status_code in {404, 422}
    assert stored(images[0]).version == 0


def test_a_class_is_added_without_leaving_the_image(browser, root, project, images):
    answer = browser.post(f"{root}/classes?image={images[2]}", data={"name": "dent"}, headers=PARTIAL)
    assert 'data-name="dent"' in answer.text
    assert f'image-id="{images[2]}"' in answer.text
    answer = browser.post(f"{root}/classes?image={images[2]}", data={"name": "dent"}, headers=PARTIAL)
    assert "already" in answer.text
    assert answer.text.count('data-name="dent"') == 1


def test_nothing_to_label_says_so(browser, root, project, images):
    assert "Nothing to label here" in browser.get(f"{root}?split=dev&q=nosuchname").text
    with transaction() as session:
        session.execute(update(Image).values(deleted_at=browse_data.START))
    assert "No images yet" in browser.get(root).text


def test_when_all_is_labelled_the_first_of_all_images_opens(browser, root, images, classes):
    for image in images:
        save(browser, root, image, classes[0], 0)
    location, image = opened(browser, root)
    assert image == max(images)
    assert "labelled" not in location


def test_a_viewer_looks_but_cannot_label(people, browser_as, root, images, classes):
    viewer = browser_as(people[Role.VIEWER])
    assert '<fieldset class="classes__list" disabled' in viewer.get(f"{root}?image={images[0]}").text
    assert save(viewer, root, images[0], classes[0], 0).status_code == 403
    assert viewer.post(f"{root}/classes?image={images[0]}", data={"name": "x"}, headers=PARTIAL).status_code == 403
