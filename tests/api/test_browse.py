"""The Data screen: filters, pages of the grid, counts, the image beside it, and what it changes."""

import re

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, select

from app.accounts.permissions import Actor, Role
from app.core.errors import Invalid
from app.db.session import get_engine, new_session, transaction
from app.db.tables import Image, ImageTag, Project
from app.images import facets, queries, vocabulary
from app.images.filters import ImageFilter, Sort, parse_filter
from app.projects import service as project_service
from tests import browse_data, factories

PARTIAL = {"HX-Request": "true", "HX-Request-Type": "partial"}


class Line:
    """A project with 60 images: classes, splits, tags, metadata and the predictions of a model."""

    def __init__(self, owner: Actor, n: int = 60) -> None:
        self.project = factories.make_project(owner, categories=("good", "scratch", "dent"))
        with transaction() as session:
            self.classes = tuple(one.id for one in project_service.list_categories(session, self.project.id))
            self.tag = project_service.create_tag(session, actor=owner, project_id=self.project.id, name="night")
            self.field = project_service.create_metadata_field(
                session, actor=owner, project_id=self.project.id, name="lot"
            )
        self.images = browse_data.make_rows(owner, self.project.id, n, class_ids=self.classes)
        self.model = browse_data.make_model(self.project.id)
        browse_data.make_predictions(self.model, self.images[: n * 2 // 3], self.classes)
        browse_data.tag_images(self.images[::4], self.tag.id)
        self.root = f"/projects/{self.project.id}"


@pytest.fixture
def line(owner: Actor) -> Line:
    return Line(owner)


@pytest.fixture
def project(line: Line) -> Project:
    return line.project


def all_rows(line: Line, wanted: ImageFilter, *, limit: int = 7) -> list[queries.GridRow]:
    rows, cursor = [], None
    with new_session() as session:
        model = vocabulary.load(session, line.project.id).model
        while True:
            page = queries.list_images(session, line.project.id, wanted, model=model, cursor=cursor, limit=limit)
            rows += page.items
            cursor = page.next_cursor
            if cursor is None:
                return rows


# --- pages -----------------------------------------------------------------------------------------------------------


FILTERS = st.builds(
    ImageFilter,
    classes=st.sets(st.integers(0, 2), max_size=2).map(lambda s: tuple(sorted(s))),
    has_no_class=st.booleans(),
    splits=st.sets(st.sampled_from(["train", "dev", "test", "none"]), max_size=3).map(lambda s: tuple(sorted(s))),
    is_labelled=st.sampled_from([None, True, False]),
    predicted=st.sets(st.integers(0, 2), max_size=1).map(tuple),
    is_wrong=st.booleans(),
    is_unsure=st.booleans(),
    text=st.sampled_from(["", "0", "PART-0000", "%", "_"]),
    sort=st.sampled_from(list(Sort)),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=FILTERS, limit=st.integers(1, 50), with_tag=st.booleans())
def test_the_pages_together_hold_each_matching_image_once(line: Line, drawn, limit, with_tag):
    from dataclasses import replace

    wanted = replace(
        drawn,
        classes=tuple(line.classes[i] for i in drawn.classes),
        predicted=tuple(line.classes[i] for i in drawn.predicted),
        tags=(line.tag.id,) if with_tag else (),
    )
    ids = [row.id for row in all_rows(line, wanted, limit=limit)]
    assert len(ids) == len(set(ids))
    assert set(ids) == expected_ids(line, wanted)
    assert ids == [row.id for row in all_rows(line, wanted, limit=500)]


def expected_ids(line: Line, wanted: ImageFilter) -> set[int]:
    """The same filter in plain Python, over all rows."""
    with new_session() as session:
        words = vocabulary.load(session, line.project.id)
        everything = queries.list_images(session, line.project.id, ImageFilter(), model=words.model, limit=500).items
        tagged = set(session.scalars(select(ImageTag.image_id)))
    found = set()
    for row in everything:
        wrong = row.predicted_id is not None and row.category_id not in {None, row.predicted_id}
        unsure = row.ng_score is not None and abs(row.ng_score - words.model.threshold) <= 0.1
        assert (row.is_wrong, row.is_unsure) == (wrong, unsure)
        fits = (
            (
                not (wanted.classes or wanted.has_no_class)
                or row.category_id in wanted.classes
                or (wanted.has_no_class and row.category_id is None)
            )
            and (not wanted.splits or (row.split or "none") in wanted.splits)
            and wanted.is_labelled in {None, row.is_labelled}
            and (not wanted.predicted or row.predicted_id in wanted.predicted)
            and (not wanted.is_wrong or wrong)
            and (not wanted.is_unsure or unsure)
            and (not wanted.tags or row.id in tagged)
            and wanted.text.lower() in row.name.lower()
        )
        if fits:
            found.add(row.id)
    return found


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=FILTERS)
def test_counts_agree_with_the_grid(line: Line, drawn):
    from dataclasses import replace

    wanted = replace(
        drawn,
        classes=tuple(line.classes[i] for i in drawn.classes),
        predicted=tuple(line.classes[i] for i in drawn.predicted),
    )
    with new_session() as session:
        words = vocabulary.load(session, line.project.id)
        for with_predictions in (False, True):
            counts = queries.count_images(
                session, line.project.id, wanted, model=words.model, with_predictions=with_predictions
            )
            built = facets.build(wanted, counts, words)
            assert built.n_matching == len(expected_ids(line, wanted))
        for facet in built.facets:
            for value in facet.values:
                if facet.key in {"labelled", "tag"} and not value.is_on:
                    assert value.n == len(expected_ids(line, value.toggled))


def test_unsure_comes_nearest_to_the_threshold_first(line):
    rows = all_rows(line, ImageFilter(sort=Sort.UNSURE))
    distances = [abs(row.ng_score - 0.5) for row in rows if row.ng_score is not None]
    assert distances == sorted(distances)
    assert [row.ng_score for row in rows[len(distances) :]] == [None] * (len(rows) - len(distances))


@pytest.mark.parametrize("sort", list(Sort))
def test_neighbours_are_what_the_grid_shows_around(line, sort):
    wanted = ImageFilter(sort=sort, is_labelled=None)
    rows = all_rows(line, wanted, limit=500)
    with new_session() as session:
        model = vocabulary.load(session, line.project.id).model
        for place in (0, 1, 30, len(rows) - 1):
            image = queries.get_image(session, line.project.id, rows[place].id, model=model)
            around = queries.get_neighbours(session, line.project.id, wanted, model=model, image=image, reach=5)
            assert [row.id for row in around.before] == [row.id for row in rows[max(0, place - 5) : place]]
            assert [row.id for row in around.after] == [row.id for row in rows[place + 1 : place + 6]]
            following = [row.id for row in rows[place + 1 :] + rows[:place] if not row.is_labelled]
            assert around.next_unlabelled_id == (following[0] if following else None)


def test_metadata_and_deleted_images(browser, line, owner):
    from app.images import metadata as image_metadata

    with transaction() as session:
        image_metadata.set_metadata(
            session, actor=owner, project_id=line.project.id, selection=line.images[:3], values={"lot": "L 7"}
        )
    browser.post(f"{line.root}/bulk/delete", data={"image_id": line.images[0]}, headers=PARTIAL)
    wanted = parse_filter([(f"meta.{line.field.id}", "l 7")])
    assert {row.id for row in all_rows(line, wanted)} == set(line.images[1:3])
    with new_session() as session:
        model = vocabulary.load(session, line.project.id).model
        counts = queries.count_images(session, line.project.id, ImageFilter(), model=model, with_predictions=True)
    assert sum(cell.n for cell in counts.cells) == 59


# --- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "class=x",
        "class=-1",
        "class=99999999999",
        "class=1%20or%201",
        "split=train'--",
        "labelled=maybe",
        "tag=%C2%B2",
        "wrong=yes",
        "model=none",
        "sort=password_hash",
        "since=nan",
        "since=x",
        "meta.x=1",
        "labelled=yes&labelled=no",
        "q=" + "x" * 201,
        "q=%00",
    ],
)
def test_junk_in_an_address_is_refused(browser, line, query):
    for page in ("data", "data/predicted", "label"):
        assert browser.get(f"{line.root}/{page}?{query}").status_code == 422
    assert browser.get(f"{line.root}/data/more?cursor=W10&{query}").status_code == 422


@pytest.mark.parametrize("cursor", ["", "x", "W10", "WyJhIl0", "WzEuNV0", "W3RydWVd", "WzFlMzBd", "WzEsMl0"])
def test_a_cursor_of_no_page_is_refused(browser, line, cursor):
    assert browser.get(f"{line.root}/data/more?cursor={cursor}", headers=PARTIAL).status_code == 422


def test_unknown_parameters_and_empty_values_are_left_alone(browser, line):
    assert browser.get(f"{line.root}/data?utm_source=x&q=&split=").status_code == 200


@given(drawn=FILTERS)
def test_a_filter_survives_its_address(drawn):
    from dataclasses import replace

    wanted = replace(drawn, classes=tuple(one + 1 for one in drawn.classes), predicted=())
    assert parse_filter(wanted.pairs()) == wanted
    for name, value in wanted.pairs():
        assert (name, value) not in wanted.toggled(name, value).pairs()


def test_more_filters_than_anybody_sets_are_refused():
    with pytest.raises(Invalid):
        parse_filter([("class", str(n)) for n in range(1, 300)])


# --- the screen ------------------------------------------------------------------------------------------------------


def tile_ids(html: str) -> list[int]:
    return [int(one) for one in re.findall(r'<li class="tile[^>]*data-id="(\d+)"', html)]


def test_the_screen_shows_filters_tiles_and_the_open_image(browser, line):
    page = browser.get(f"{line.root}/data?image={line.images[5]}")
    assert page.status_code == 200
    assert tile_ids(page.text) == sorted(line.images, reverse=True)
    assert f'id="detail" data-id="{line.images[5]}"' in page.text
    assert "60 images" in page.text
    part = browser.get(f"{line.root}/data?labelled=no", headers=PARTIAL)
    assert "<html" not in part.text
    assert len(tile_ids(part.text)) == len(expected_ids(line, ImageFilter(is_labelled=False)))


def test_scrolling_on_reads_every_image_once(browser, owner):
    line = Line(owner, n=200)
    html = browser.get(f"{line.root}/data").text
    ids = tile_ids(html)
    while more := re.search(r'hx-get="([^"]*/data/more[^"]*)"', html):
        html = browser.get(more[1].replace("&amp;", "&"), headers=PARTIAL).text
        ids += tile_ids(html)
    assert ids == sorted(line.images, reverse=True)


def test_without_htmx_the_next_page_and_the_panel_are_pages(browser, owner):
    line = Line(owner, n=100)
    more = re.search(r'hx-get="([^"]*/data/more[^"]*)"', browser.get(f"{line.root}/data").text)
    assert "<html" in browser.get(more[1].replace("&amp;", "&")).text
    answer = browser.get(f"{line.root}/images/{line.images[0]}?split=dev")
    assert answer.headers["location"] == f"{line.root}/data?split=dev&image={line.images[0]}"


def test_the_panel_puts_the_image_into_the_address(browser, line):
    answer = browser.get(f"{line.root}/images/{line.images[0]}?split=dev", headers=PARTIAL)
    assert answer.headers["HX-Replace-Url"] == f"{line.root}/data?split=dev&image={line.images[0]}"


def test_few_statements_answer_each_part(browser, line):
    image = line.images[3]
    parts = {
        f"{line.root}/data": 3,
        f"{line.root}/data?labelled=no&wrong=1&sort=unsure": 3,
        f"{line.root}/data/more?cursor=WzQwXQ": 3,
        f"{line.root}/data/predicted": 3,
        f"{line.root}/images/{image}": 3,
        f"{line.root}/label?image={image}": 3,
    }
    for address, most in parts.items():
        seen: list[str] = []

        def note(_conn, _cursor, statement, *_rest, into=seen):
            into.append(statement)

        event.listen(get_engine(), "before_cursor_execute", note)
        try:
            assert browser.get(address, headers=PARTIAL).status_code == 200
        finally:
            event.remove(get_engine(), "before_cursor_execute", note)
        # Who asks, and whether they may see the project, comes first.
        ours = [
            one
            for one in seen
            if one.startswith("SELECT") and "user_session" not in one and "FROM project" not in one.split("WHERE")[0]
        ]
        assert len(ours) <= most, (address, ours)


NASTY = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'-alert(1)-'",
    "{{ 7*7 }}",
    "</textarea><svg onload=alert(1)>",
    "javascript:alert(1)",
]


@pytest.mark.parametrize("nasty", NASTY)
def test_names_are_only_ever_text(browser, owner, nasty):
    project = factories.make_project(owner, name=nasty, categories=(nasty, "good"))
    with transaction() as session:
        classes = tuple(one.id for one in project_service.list_categories(session, project.id))
        tag = project_service.create_tag(session, actor=owner, project_id=project.id, name=nasty)
        project_service.create_metadata_field(session, actor=owner, project_id=project.id, name=nasty)
        project_service.update_category(
            session, actor=owner, project_id=project.id, category_id=classes[0], description=nasty
        )
    images = browse_data.make_rows(owner, project.id, 4, class_ids=classes, prefix=nasty)
    browse_data.make_predictions(browse_data.make_model(project.id, name=nasty), images, classes)
    browse_data.tag_images(images, tag.id)
    root = f"/projects/{project.id}"
    for path in (
        f"data?image={images[0]}&tag={tag.id}&class={classes[0]}",
        f"label?image={images[0]}",
        "classes",
        f"images/{images[0]}",
        "auto-split",
    ):
        for headers in ({}, PARTIAL):
            html = browser.get(f"{root}/{path}", headers=headers, follow_redirects=True).text
            for harm in ("<script>alert", "<img src=x", "<svg onload", ">49<"):
                assert harm not in html, (path, harm)
            assert nasty not in html or not set(nasty) & set("<>\"'")


# --- changes ---------------------------------------------------------------------------------------------------------


def stored(image_id: int) -> Image:
    with new_session() as session:
        return session.get(Image, image_id)


def undo_of(html: str) -> tuple[str, str]:
    """Return the address and the change of the undo button in an answer."""
    form = re.search(
        r'<form class="toast__form" method="post" action="([^"]*)".*?name="change" value="([^"]*)"', html, re.S
    )
    assert form, html[-2000:]
    return form[1].replace("&amp;", "&"), form[2].replace("&#43;", "+")


def test_a_class_for_the_selected_images_and_undo(browser, line):
    before = {one: stored(one).category_id for one in line.images}
    chosen = line.images[:10]
    answer = browser.post(
        f"{line.root}/bulk/class", data={"image_id": chosen, "category_id": line.classes[1]}, headers=PARTIAL
    )
    assert answer.status_code == 200
    assert {stored(one).category_id for one in chosen} == {line.classes[1]}
    assert stored(line.images[10]).category_id == before[line.images[10]]
    address, change = undo_of(answer.text)
    assert browser.post(address, data={"change": change}, headers=PARTIAL).status_code == 200
    assert {one: stored(one).category_id for one in line.images} == before
    assert browser.post(address, data={"change": change}, headers=PARTIAL).status_code == 409


def test_everything_that_matches_is_what_the_address_shows(browser, line):
    dev = expected_ids(line, ImageFilter(splits=("dev",)))
    browser.post(f"{line.root}/bulk/split?split=dev", data={"everything": "true", "split": "test"}, headers=PARTIAL)
    assert expected_ids(line, ImageFilter(splits=("dev",))) == set()
    assert dev <= expected_ids(line, ImageFilter(splits=("test",)))


def test_wrong_ones_can_be_chosen_as_a_whole(browser, line):
    wrong = expected_ids(line, ImageFilter(is_wrong=True))
    assert wrong
    browser.post(f"{line.root}/bulk/tag?wrong=1", data={"everything": "true", "tag": "look again"}, headers=PARTIAL)
    with new_session() as session:
        tag = next(one for one in project_service.list_tags(session, line.project.id) if one.name == "look again")
        assert set(session.scalars(select(ImageTag.image_id).where(ImageTag.tag_id == tag.id))) == wrong
    browser.post(
        f"{line.root}/bulk/tag", data={"everything": "true", "tag": "look again", "remove": "true"}, headers=PARTIAL
    )
    with new_session() as session:
        assert not list(session.scalars(select(ImageTag.image_id).where(ImageTag.tag_id == tag.id)))


def test_deleting_can_be_undone(browser, line):
    answer = browser.post(f"{line.root}/bulk/delete", data={"image_id": line.images[:5]}, headers=PARTIAL)
    assert tile_ids(answer.text) == sorted(line.images[5:], reverse=True)
    assert browser.get(f"{line.root}/images/{line.images[0]}", headers=PARTIAL).status_code == 404
    assert browser.get(f"{line.root}/images/{line.images[0]}/thumb").status_code == 404
    address, change = undo_of(answer.text)
    answer = browser.post(address, data={"change": change}, headers=PARTIAL)
    assert tile_ids(answer.text) == sorted(line.images, reverse=True)


def splits_of(line: Line) -> dict[int, str | None]:
    with new_session() as session:
        return dict(session.execute(select(Image.id, Image.split).where(Image.project_id == line.project.id)).all())


def tags_of(line: Line) -> set[tuple[int, int]]:
    with new_session() as session:
        rows = select(ImageTag.image_id, ImageTag.tag_id).join(Image, Image.id == ImageTag.image_id)
        return {tuple(row) for row in session.execute(rows.where(Image.project_id == line.project.id))}


@pytest.mark.parametrize("split", ["test", ""])
def test_a_split_for_many_is_undone_image_by_image(browser, line, split):
    before = splits_of(line)
    assert len(set(before.values())) > 2, "the images stand in several splits"
    answer = browser.post(f"{line.root}/bulk/split", data={"everything": "true", "split": split}, headers=PARTIAL)
    assert set(splits_of(line).values()) == {split or None}
    address, change = undo_of(answer.text)
    moved_on = next(one for one, old in before.items() if old not in {split or None, "dev"})
    browser.post(f"{line.root}/images/{moved_on}/split", data={"split": "dev"}, headers=PARTIAL)
    assert browser.post(address, data={"change": change}, headers=PARTIAL).status_code == 200
    assert splits_of(line) == before | {moved_on: "dev"}, "what was moved since stays where it is"
    assert browser.post(address, data={"change": change}, headers=PARTIAL).status_code == 409


def test_a_tag_for_many_is_undone_image_by_image(browser, line):
    for name, remove in ((line.tag.name, ""), (line.tag.name, "true"), ("never seen before", "")):
        before = tags_of(line)
        data = {"everything": "true", "tag": name, "remove": remove or "false"}
        answer = browser.post(f"{line.root}/bulk/tag", data=data, headers=PARTIAL)
        assert tags_of(line) != before
        address, change = undo_of(answer.text)
        assert browser.post(address, data={"change": change}, headers=PARTIAL).status_code == 200
        assert tags_of(line) == before
        assert browser.post(address, data={"change": change}, headers=PARTIAL).status_code == 409


def test_only_ones_own_change_of_this_kind_in_this_project_is_undone(browser, browser_as, people, line):
    answer = browser.post(f"{line.root}/bulk/split", data={"everything": "true", "split": "dev"}, headers=PARTIAL)
    address, change = undo_of(answer.text)
    after = splits_of(line)
    others = browser_as(people[Role.ADMIN])
    assert others.post(address, data={"change": change}, headers=PARTIAL).status_code == 404
    assert browser.post(address.replace("split", "tag", 1), data={"change": change}, headers=PARTIAL).status_code == 404
    assert splits_of(line) == after


def test_an_empty_selection_changes_nothing(browser, line):
    for what in ("class", "split", "delete"):
        answer = browser.post(f"{line.root}/bulk/{what}", headers=PARTIAL)
        assert (answer.status_code, answer.headers["HX-Retarget"]) == (422, "#toasts")
    assert len(expected_ids(line, ImageFilter())) == 60


def test_bulk_without_htmx_goes_back_to_the_view(browser, line):
    answer = browser.post(f"{line.root}/bulk/split?labelled=no", data={"image_id": line.images[0], "split": "dev"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"{line.root}/data?labelled=no")


def test_one_image_is_edited_in_the_panel(browser, line):
    image = line.images[0]
    address = f"{line.root}/images/{image}"
    version = stored(image).version
    answer = browser.post(
        f"{address}/class", data={"category_id": line.classes[2], "version": version}, headers=PARTIAL
    )
    assert stored(image).category_id == line.classes[2]
    assert f'hx-target="#image-{image}"' in answer.text
    browser.post(f"{address}/split", data={"split": "test"}, headers=PARTIAL)
    assert stored(image).split == "test"
    answer = browser.post(f"{address}/tags", data={"add": "shiny"}, headers=PARTIAL)
    assert "shiny" in answer.text
    answer = browser.post(f"{address}/tags", data={"remove": line.tag.id}, headers=PARTIAL)
    answer = browser.post(f"{address}/metadata", data={"field_id": line.field.id, "value": "L 9"}, headers=PARTIAL)
    assert 'value="L 9"' in answer.text
    answer = browser.post(f"{address}/metadata", data={"field_id": line.field.id, "value": ""}, headers=PARTIAL)
    assert 'value="L 9"' not in answer.text


def test_a_class_set_elsewhere_is_shown_not_overwritten(browser, line):
    image = line.images[0]
    version = stored(image).version
    address = f"{line.root}/images/{image}/class"
    browser.post(address, data={"category_id": line.classes[2], "version": version}, headers=PARTIAL)
    answer = browser.post(address, data={"category_id": line.classes[1], "version": version}, headers=PARTIAL)
    assert "Changed elsewhere meanwhile" in answer.text
    assert stored(image).category_id == line.classes[2]


def test_classes_are_managed_in_their_dialog(browser, line):
    address = f"{line.root}/classes"
    assert browser.get(address, headers=PARTIAL).text.count('class="class-list__item"') == 3
    answer = browser.post(address, data={"name": "crack", "color": "#56b4e9", "is_good": "true"}, headers=PARTIAL)
    assert answer.headers["HX-Trigger"] == "classes:changed"
    assert browser.post(address, data={"name": "crack"}, headers=PARTIAL).status_code == 409
    assert browser.post(address, data={"name": " "}, headers=PARTIAL).status_code == 422
    with new_session() as session:
        crack = next(one for one in project_service.list_categories(session, line.project.id) if one.name == "crack")
    answer = browser.post(
        f"{address}/{crack.id}",
        data={"name": "hairline", "color": "#d55e00", "description": "thin", "is_good": "true"},
        headers=PARTIAL,
    )
    with new_session() as session:
        good = [one.name for one in project_service.list_categories(session, line.project.id) if one.is_good]
    assert good == ["hairline"]
    assert browser.post(f"{address}/{line.classes[0]}/delete", headers=PARTIAL).status_code == 409
    assert browser.post(f"{address}/{crack.id}/delete", headers=PARTIAL).status_code == 200


def test_auto_split_says_what_it_does_and_does_it(browser, line):
    address = f"{line.root}/auto-split"
    shares = {"train": 60, "dev": 20, "test": 20, "redraw": "true"}
    preview = browser.get(address, params=shares, headers=PARTIAL).text
    planned = [int(one) for one in re.findall(r'<td class="num">(\d+)</td>', preview)]
    assert browser.post(address, data=shares, headers=PARTIAL).status_code == 200
    with new_session() as session:
        rows = session.execute(select(Image.category_id, Image.split).where(Image.is_labelled)).all()
    done = [
        sum(1 for row in rows if row == (category, split))
        for category in line.classes
        for split in ("train", "dev", "test")
    ]
    assert planned == done
    assert browser.get(address, params={**shares, "train": 50}, headers=PARTIAL).status_code == 422
    assert browser.post(address, data={**shares, "train": 50}, headers=PARTIAL).status_code == 422


# --- who may ---------------------------------------------------------------------------------------------------------

CHANGES = [
    ("bulk/class", {"everything": "true", "category_id": ""}, Role.LABELER),
    ("bulk/split", {"everything": "true", "split": "dev"}, Role.MEMBER),
    ("bulk/tag", {"everything": "true", "tag": "night"}, Role.LABELER),
    ("bulk/delete", {"everything": "true"}, Role.MEMBER),
    ("bulk/undo/labels", {"change": "1"}, Role.LABELER),
    ("bulk/undo/deleted", {"change": "2026-01-01T00:00:00+00:00"}, Role.MEMBER),
    ("bulk/undo/split", {"change": "1"}, Role.MEMBER),
    ("bulk/undo/tag", {"change": "1"}, Role.LABELER),
    ("images/{image}/class", {"version": "0"}, Role.LABELER),
    ("images/{image}/split", {}, Role.MEMBER),
    ("images/{image}/tags", {}, Role.LABELER),
    ("images/{image}/metadata", {"field_id": "1"}, Role.LABELER),
    ("classes", {"name": "new"}, Role.MEMBER),
    ("auto-split", {"train": "70", "dev": "15", "test": "15"}, Role.MEMBER),
    ("label", {"image_id": "{image}", "version": "0"}, Role.LABELER),
]
RANKS = [Role.VIEWER, Role.LABELER, Role.MEMBER]


@pytest.mark.parametrize(("path", "data", "least"), CHANGES, ids=[one[0] for one in CHANGES])
def test_each_change_asks_for_its_role(people, browser_as, path, data, least):
    line = Line(people[Role.OWNER], n=6)
    image = str(line.images[0])
    fill = {key: value.replace("{image}", image) for key, value in data.items()}
    for role in RANKS:
        answer = browser_as(people[role]).post(
            f"{line.root}/{path}".replace("{image}", image), data=fill, headers=PARTIAL
        )
        allowed = RANKS.index(role) >= RANKS.index(least)
        assert (answer.status_code != 403) is allowed, (role, answer.status_code)
        assert answer.status_code < 500


def test_a_viewer_sees_the_screen_without_what_they_may_not_do(people, browser_as, line):
    html = browser_as(people[Role.VIEWER]).get(f"{line.root}/data?image={line.images[0]}").text
    for absent in ("bulk/delete", "bulk/class", 'id="upload"', 'id="classes"', "auto-split"):
        assert absent not in html
    assert (
        '<select class="input select__input" id="detail-class" name="category_id" autocomplete="off" disabled' in html
    )


@pytest.mark.parametrize(
    "path",
    ["images/{image}", "images/{image}/thumb", "images/{image}/view", "images/{image}/file", "label?image={image}"],
)
def test_an_image_of_another_project_is_unknown(browser, owner, line, path):
    other = factories.make_project(owner, name="Other")
    address = f"/projects/{other.id}/{path}".replace("{image}", str(line.images[0]))
    assert browser.get(address, headers=PARTIAL).status_code == 404


def test_changes_reach_no_image_of_another_project(browser, owner, line):
    other = factories.make_project(owner, name="Other")
    image = line.images[0]
    root = f"/projects/{other.id}"
    tries = [
        ("bulk/class", {"image_id": image}),
        ("bulk/split", {"image_id": image, "split": "dev"}),
        ("bulk/tag", {"image_id": image, "tag": "x"}),
        ("bulk/delete", {"image_id": image}),
        (f"images/{image}/class", {"version": 0}),
        (f"images/{image}/split", {"split": "dev"}),
        ("label", {"image_id": image, "version": 0}),
    ]
    for path, data in tries:
        assert browser.post(f"{root}/{path}", data=data, headers=PARTIAL).status_code == 404, path
    assert browser.post(f"{root}/classes/{line.classes[0]}/delete", headers=PARTIAL).status_code == 404


def test_nobody_signed_in_gets_nothing(anonymous: TestClient, line):
    for path in ("data", "label", f"images/{line.images[0]}/file"):
        assert anonymous.get(f"{line.root}/{path}").status_code == 303


def test_undo_is_offered_only_where_something_changed(browser, line):
    labelled = next(one for one in line.images if stored(one).category_id)
    for offered in (True, False):
        answer = browser.post(
            f"{line.root}/bulk/class", data={"image_id": labelled, "category_id": ""}, headers=PARTIAL
        )
        assert ("toast__form" in answer.text) is offered
    for path, data in (("split", {"split": "test"}), ("tag", {"tag": "night shift"})):
        for offered in (True, False):
            answer = browser.post(f"{line.root}/bulk/{path}", data={"image_id": labelled, **data}, headers=PARTIAL)
            if offered and path == "split" and "Nothing to change" in answer.text:
                continue  # it stood in this split
            assert ("toast__form" in answer.text) is offered
