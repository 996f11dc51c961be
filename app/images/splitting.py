"""Auto split: the dialog of the Data screen, with what it would do before it is done."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.accounts.permissions import Action, Actor
from app.contracts.tasks import Split, TaskType
from app.datasets import service as dataset_service
from app.datasets import splits
from app.db.tables import Image
from app.images.changes import BulkChange
from app.projects import service as project_service
from app.web.deps import SessionDep, page_actor
from app.web.rendering import render

router = APIRouter(prefix="/projects/{project_id}/auto-split", include_in_schema=False)

Editor = Annotated[Actor, Depends(page_actor(Action.EDIT))]
Share = Annotated[int, Form(ge=-1000, le=1000)]
AskedShare = Annotated[int, Query(ge=-1000, le=1000)]

# {category id: {split, or None: images}}
ClassCounts = dict[int, dict[str | None, int]]


@router.get("", name="images.split_preview")
def preview(
    request: Request,
    actor: Editor,
    session: SessionDep,
    project_id: int,
    train: AskedShare = 70,
    dev: AskedShare = 15,
    test: AskedShare = 15,
    redraw: Annotated[bool, Query()] = False,
) -> Response:
    """Answer how many images of each class would be where."""
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.EDIT)
    shares = {Split.TRAIN: train, Split.DEV: dev, Split.TEST: test}
    splits.check_percentages(shares)
    if project.task == TaskType.CLASSIFICATION:
        after = planned(_labelled_counts(session, project_id), shares, redraw=redraw)
    else:  # which images are drawn decides how many of each class are: they hold several, or are kept out of train
        after = dataset_service.plan_split(session, project=project, percentages=shares, redraw=redraw)
    rows = [
        (category, after[category.id], sum(after[category.id].values()))
        for category in project_service.list_categories(session, project_id)
        if category.id in after
    ]
    return render(request, "partials/images/_split_preview.html", rows=rows, splits=list(Split))


@router.post("", name="images.auto_split")
def auto_split(
    request: Request,
    actor: Editor,
    session: SessionDep,
    project_id: int,
    train: Share,
    dev: Share,
    test: Share,
    redraw: Annotated[bool, Form()] = False,
) -> Response:
    """Spread the labelled images over the splits."""
    change = BulkChange(request, session, actor, project_id, [], everything=True)
    counts = dataset_service.auto_split(
        session,
        actor=actor,
        project_id=project_id,
        percentages={Split.TRAIN: train, Split.DEV: dev, Split.TEST: test},
        select_option="all-labeled" if redraw else "without-split",
    )
    if not sum(counts.values()):
        return change.answer("Nothing to split: every labelled image has its split already")
    return change.answer(f"Split: {', '.join(f'{n:,} to {split.value}' for split, n in counts.items())}")


def planned(before: ClassCounts, shares: dict[Split, int], *, redraw: bool) -> dict[int, dict[Split, int]]:
    """Return how many images of each class each split would hold; which ones these are, the draw decides."""
    after: dict[int, dict[Split, int]] = {}
    for category_id, counts in before.items():
        kept = dict.fromkeys(Split, 0) if redraw else {split: counts.get(split.value, 0) for split in Split}
        n_open = sum(counts.values()) - sum(kept.values())
        drawn = splits.assign(
            (splits.Candidate(number, "", frozenset({category_id})) for number in range(n_open)),
            existing={category_id: kept},
            percentages=shares,
        )
        for split in drawn.values():
            kept[split] += 1
        after[category_id] = kept
    return after


def _labelled_counts(session: Session, project_id: int) -> ClassCounts:
    query = (
        select(Image.category_id, Image.split, func.count())
        .where(Image.project_id == project_id, Image.deleted_at.is_(None), Image.category_id.is_not(None))
        .group_by(Image.category_id, Image.split)
    )
    counts: ClassCounts = {}
    for category_id, split, n in session.execute(query):
        assert category_id is not None  # the query asks for those alone
        counts.setdefault(category_id, {})[split] = n
    return counts
