"""What the Label screen's templates are given."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fastapi import Request
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.annotations.prompting.runs import has_masks_of
from app.contracts.tasks import TaskType
from app.core.clock import utc_now
from app.db.tables import Image, Project
from app.images import facets, queries, views, vocabulary
from app.images.filters import ImageFilter, Sort
from app.images.queries import GridRow, ImageDetail
from app.images.views import Links
from app.images.vocabulary import ClassRef, Vocabulary

REACH = 30  # images of the filmstrip on either side
ORDER_WORDS = {
    Sort.NEWEST: "newest first",
    Sort.OLDEST: "oldest first",
    Sort.NAME: "by name",
    Sort.UNSURE: "most unsure first",
    Sort.NG: "most likely NG first",
}


@dataclass(frozen=True, slots=True)
class StripEntry:
    """One image of the filmstrip; `reason` says why it is in the queue, or which class it has."""

    id: int
    href: str
    thumb: str
    name: str
    reason: str
    is_current: bool
    color: str | None


@dataclass(frozen=True, slots=True)
class LabelScreen:
    """Everything of the Label screen for one image.

    `queue` says in words which images, in which order; `shapes` is where shapes are read and saved, None where the
    project's images carry a class each. `has_drafts`: a model, or strokes, may have found something on the image.
    """

    project: Project
    wanted: ImageFilter
    words: Vocabulary
    image: ImageDetail
    predicted: ClassRef | None
    strip: tuple[StripEntry, ...]
    links: Links
    heat: str | None
    previous: str | None
    next: str | None
    unlabelled: str | None
    preload: tuple[str, ...]
    queue: str
    n_labelled: int
    shapes: str | None
    has_drafts: bool

    @property
    def class_rows(self) -> list[dict[str, object]]:
        """The classes as the macro `class_form` takes them."""
        return [
            {
                "id": one.id,
                "name": one.name,
                "color": one.color,
                "count": one.n_images,
                "description": one.description,
            }
            for one in self.words.classes
        ]


def opening(wanted: ImageFilter, words: Vocabulary) -> list[ImageFilter]:
    """Return the queues to try when no image is named, the first with an image wins.

    Within a filter: its unlabelled images come first, then any. Without one: what is unlabelled, in the order in which
    labels teach the model most; then everything.
    """
    if wanted.is_empty and wanted.sort is Sort.NEWEST:
        sort = Sort.UNSURE if words.model else Sort.OLDEST
        return [frozen(replace(wanted, is_labelled=False, sort=sort)), wanted]
    return [frozen(wanted)]


def frozen(wanted: ImageFilter) -> ImageFilter:
    """Return the filter as a queue that keeps the images that are labelled from now on."""
    return replace(wanted, since=utc_now()) if wanted.depends_on_labels and wanted.since is None else wanted


def first_image(
    session: Session, project_id: int, wanted: ImageFilter, words: Vocabulary
) -> tuple[ImageFilter, int] | None:
    """Return the queue to open and its first image, an unlabelled one where there is one; None: nothing matches."""
    for queue in opening(wanted, words):
        open_ones = [replace(queue, is_labelled=False)] if queue.is_labelled is None else []
        for attempt in (*open_ones, queue):
            image_id = queries.find_first_id(session, project_id, attempt, model=words.model)
            if image_id is not None:
                return queue, image_id
    return None


def load_screen(
    request: Request, session: Session, project: Project, wanted: ImageFilter, words: Vocabulary, image_id: int
) -> LabelScreen:
    """Return the screen of one image. Raises `NotFound` where the project has no such image."""
    links = Links.of(request, project.id)
    has_shapes = TaskType(project.task).has_shapes
    queue = frozen(wanted)
    image = queries.get_image(session, project.id, image_id, model=words.model)
    around = queries.get_neighbours(session, project.id, queue, model=words.model, image=image, reach=REACH)
    rows: Sequence[GridRow | ImageDetail] = [*around.before, image, *around.after]
    before, after = [row.id for row in around.before], [row.id for row in around.after]
    unlabelled = around.next_unlabelled_id
    return LabelScreen(
        project=project,
        wanted=queue,
        words=words,
        image=image,
        predicted=words.find_class(image.predicted_id),
        strip=tuple(strip_entry(row, words, links, queue, is_current=row.id == image_id) for row in rows),
        links=links,
        heat=None if has_shapes else views.heat_of(image, words.model, links),
        previous=links.label(queue, before[-1]) if before else None,
        next=links.label(queue, after[0]) if after else None,
        unlabelled=links.label(queue, unlabelled) if unlabelled else None,
        preload=tuple(
            links.view(one) for one in dict.fromkeys([*after[:2], *before[-1:], *([unlabelled] if unlabelled else [])])
        ),
        queue=queue_words(queue, words),
        n_labelled=count_labelled(session, project, words),
        shapes=f"{links.project}/label/{image_id}/shapes" if has_shapes else None,
        has_drafts=has_shapes and (words.model is not None or has_masks_of(session, image_id)),
    )


def count_labelled(session: Session, project: Project, words: Vocabulary) -> int:
    """Return how many images are labelled. `words` has counts: where each image has one class, they are the answer."""
    if not TaskType(project.task).has_shapes:
        return sum(one.n_images for one in words.classes)
    query = select(func.count()).where(Image.project_id == project.id, Image.is_labelled, Image.deleted_at.is_(None))
    return session.scalar(query) or 0


def strip_entry(
    row: GridRow | ImageDetail, words: Vocabulary, links: Links, wanted: ImageFilter, *, is_current: bool = False
) -> StripEntry:
    category, predicted = words.find_class(row.category_id), words.find_class(row.predicted_id)
    if category:
        reason = category.name
    elif predicted and row.score is not None and not row.is_labelled:
        reason = f"{'unsure' if row.is_unsure else predicted.name} {row.score:.2f}"
    else:
        reason = "labelled" if row.is_labelled else ""
    return StripEntry(
        id=row.id,
        href=links.label(wanted, row.id),
        thumb=links.thumb(row.id),
        name=row.name,
        reason=reason,
        is_current=is_current,
        color=category.color if category else None,
    )


def queue_words(wanted: ImageFilter, words: Vocabulary) -> str:
    """Return the queue in words: `unlabelled, dev; most unsure first`."""
    chips = ", ".join(chip.text for chip in facets.chips_of(replace(wanted, since=None), words))
    return f"{chips or 'all images'}; {ORDER_WORDS[wanted.sort]}"


def load_words(session: Session, project_id: int, wanted: ImageFilter) -> Vocabulary:
    return vocabulary.load(session, project_id, model_id=wanted.model_id, with_counts=True)
