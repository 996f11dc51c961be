"""Giving images a class: one person, two people at once, many images, and taking it back."""

import pytest
from sqlalchemy import func, select, update

from app.accounts.permissions import Actor, Role
from app.annotations import service as annotation_service
from app.core.errors import NotFound, NothingToUndo, PermissionDenied, StaleVersion
from app.db.session import new_session, transaction
from app.db.tables import Annotation, Image, Project
from app.projects import service as project_service
from tests import browse_data, factories


@pytest.fixture
def images(owner: Actor, project: Project) -> list[int]:
    return browse_data.make_rows(owner, project.id, 6)


def set_class(actor: Actor, project: Project, image_id: int, category_id: int | None, version: int | None):
    with transaction() as session:
        return annotation_service.set_class(
            session,
            actor=actor,
            project_id=project.id,
            image_id=image_id,
            category_id=category_id,
            expected_version=version,
        )


def stored(image_id: int) -> tuple:
    with new_session() as session:
        image = session.get(Image, image_id)
        rows = list(session.scalars(select(Annotation).where(Annotation.image_id == image_id)))
        assert [row.category_id for row in rows] == ([image.category_id] if image.category_id else [])
        assert image.is_labelled is (image.category_id is not None)
        return image.category_id, image.version, image.labelled_by_id


def test_a_class_is_set_changed_and_cleared(owner, project, classes, images):
    good, scratch = classes
    label = set_class(owner, project, images[0], good, 0)
    assert (label.category_id, label.version, label.changed_by) == (good, 1, owner.name)
    set_class(owner, project, images[0], scratch, 1)
    assert stored(images[0]) == (scratch, 2, owner.user_id)
    cleared = set_class(owner, project, images[0], None, 2)
    assert (cleared.category_id, cleared.version) == (None, 3)
    assert stored(images[0]) == (None, 3, owner.user_id)


def test_an_edit_on_an_old_version_is_refused_and_says_what_is_there(people, project, classes, images):
    owner, other = people[Role.OWNER], people[Role.LABELER]
    good, scratch = classes
    set_class(other, project, images[0], scratch, 0)
    with pytest.raises(StaleVersion) as caught:
        set_class(owner, project, images[0], good, 0)
    current = caught.value.extra["current"]
    assert (current["category_id"], current["version"], current["changed_by"]) == (scratch, 1, other.name)
    assert stored(images[0]) == (scratch, 1, other.user_id)
    # Having seen it, the person may decide against it.
    set_class(owner, project, images[0], good, current["version"])
    assert stored(images[0]) == (good, 2, owner.user_id)


def test_the_same_edit_twice_changes_once(owner, project, classes, images):
    good, _ = classes
    first = set_class(owner, project, images[0], good, 0)
    again = set_class(owner, project, images[0], good, 0)  # the answer to the first was lost on the way
    assert first == again
    assert stored(images[0]) == (good, 1, owner.user_id)


def test_without_a_version_the_last_word_holds(owner, project, classes, images):
    good, scratch = classes
    set_class(owner, project, images[0], good, 0)
    assert set_class(owner, project, images[0], scratch, None).version == 2


def test_a_viewer_may_not_label_and_a_labeler_may(people, project, classes, images):
    with pytest.raises(PermissionDenied):
        set_class(people[Role.VIEWER], project, images[0], classes[0], 0)
    assert set_class(people[Role.LABELER], project, images[0], classes[0], 0).version == 1


def test_images_and_classes_of_other_projects_are_unknown(owner, project, classes, images):
    other = factories.make_project(owner, name="Other")
    with new_session() as session:
        foreign_class = project_service.list_categories(session, other.id)[0].id
    with pytest.raises(NotFound):
        set_class(owner, other, images[0], foreign_class, 0)
    with pytest.raises(NotFound):
        set_class(owner, project, images[0], foreign_class, 0)
    assert stored(images[0])[:2] == (None, 0)


def test_a_deleted_image_is_unknown(owner, project, classes, images):
    with transaction() as session:
        session.execute(update(Image).where(Image.id == images[0]).values(deleted_at=browse_data.START))
    with pytest.raises(NotFound):
        set_class(owner, project, images[0], classes[0], 0)


def bulk(actor, project, selection, category_id):
    with transaction() as session:
        return annotation_service.bulk_set_class(
            session, actor=actor, project_id=project.id, selection=selection, category_id=category_id
        )


def undo(actor, project, event_id):
    with transaction() as session:
        return annotation_service.undo_bulk(session, actor=actor, project_id=project.id, event_id=event_id)


def test_many_images_at_once_and_back(owner, project, classes, images):
    good, scratch = classes
    set_class(owner, project, images[0], good, 0)
    set_class(owner, project, images[1], scratch, 0)
    changed, event_id = bulk(owner, project, images[:4], scratch)
    assert changed == 3  # one carried it already
    assert [stored(one)[0] for one in images] == [scratch] * 4 + [None] * 2
    assert undo(owner, project, event_id) == 3
    assert [stored(one)[0] for one in images] == [good, scratch, None, None, None, None]
    with pytest.raises(NothingToUndo):
        undo(owner, project, event_id)


def test_undo_leaves_what_was_labelled_since(owner, project, classes, images):
    good, scratch = classes
    _, event_id = bulk(owner, project, images[:2], scratch)
    set_class(owner, project, images[0], good, 1)
    assert undo(owner, project, event_id) == 1
    assert [stored(one)[0] for one in images[:2]] == [good, None]


def test_somebody_elses_change_cannot_be_undone(people, project, classes, images):
    _, event_id = bulk(people[Role.MEMBER], project, images, classes[0])
    with pytest.raises(NotFound):
        undo(people[Role.OWNER], project, event_id)


def test_bulk_takes_a_query_and_clears(owner, project, classes, images):
    bulk(owner, project, None, classes[0])
    changed, _ = bulk(owner, project, select(Image.id).where(Image.id <= images[2]), None)
    assert changed == 3
    with new_session() as session:
        assert session.scalar(select(func.count(Annotation.id))) == 3


def test_bulk_with_nothing_to_change_says_so(owner, project, images):
    assert bulk(owner, project, images, None) == (0, None)
