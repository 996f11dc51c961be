"""The Train screen and the cards of jobs."""

import hashlib
import io
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy.orm import Session

from app import catalog
from app.accounts.permissions import Action, Actor
from app.contracts.jobs import Augmentations
from app.contracts.tasks import TaskType
from app.core.clock import utc_now
from app.core.errors import Invalid
from app.db.tables import Project
from app.images import service as image_service
from app.images.files import file_response
from app.jobs import changes, estimates, queries
from app.jobs import service as job_service
from app.jobs.cards import make_card
from app.jobs.schemas import ChangesForm, JobCard, JobRow, TrainForm
from app.projects import service as project_service
from app.settings import get_settings
from app.web.deps import SessionDep, page_actor
from app.web.problems import wants_partial
from app.web.rendering import render

router = APIRouter(include_in_schema=False)

Viewer = Annotated[Actor, Depends(page_actor(Action.VIEW))]
Trainer = Annotated[Actor, Depends(page_actor(Action.TRAIN))]
Deleter = Annotated[Actor, Depends(page_actor(Action.DELETE))]


@router.get("/jobs/running", name="jobs.running")
def running(request: Request, actor: Viewer, session: SessionDep) -> Response:
    """Answer the jobs under way, for the top bar."""
    return render(request, "partials/jobs/_running.html", jobs=queries.list_running(session, actor=actor))


@router.get("/projects/{project_id}/train", name="jobs.train")
def train_page(request: Request, actor: Viewer, session: SessionDep, project_id: int) -> Response:
    """Show the one button, what runs, and what ran before."""
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    return _train_page(request, session, project)


@router.post("/projects/{project_id}/train", name="jobs.start")
def start(
    request: Request, actor: Trainer, session: SessionDep, project_id: int, form: Annotated[TrainForm, Form()]
) -> Response:
    """Queue a training and answer with the list of jobs, its card on top; a 422 goes to the form's own errors."""
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.TRAIN)
    try:
        spec = form.to_spec(TaskType(project.task))
        job = job_service.start_training(session, actor=actor, project_id=project_id, spec=spec)
    except Invalid as error:
        if wants_partial(request):
            raise
        session.rollback()  # a split that freezing gave away is not kept
        session.refresh(project)
        return _train_page(request, session, project, status=422, refusal=error.detail)
    if not wants_partial(request):
        return RedirectResponse(f"/projects/{project_id}/train#job-{job.id}", status_code=303)
    jobs = queries.list_jobs(session, project_id)
    return render(request, "partials/jobs/_list.html", status=201, cards=_cards(session, jobs), jobs=jobs)


@router.get("/projects/{project_id}/train/changes/{image_id}.png", name="jobs.changes_picture")
def changes_picture(
    actor: Viewer, session: SessionDep, project_id: int, image_id: int, form: Annotated[ChangesForm, Query()]
) -> Response:
    """Answer the picture of the preview."""
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    image = image_service.get_image(session, actor=actor, project_id=project_id, image_id=image_id, action=Action.VIEW)
    task = TaskType(project.task)
    amounts = form.augmentations(task) or catalog.DEFAULT_AUGMENTATIONS.get(task, Augmentations())
    content = changes.sheet(image, amounts, form.symmetry if form.symmetry in catalog.SYMMETRIES else "auto")
    return file_response(
        io.BytesIO(content), media_type=changes.MEDIA_TYPE, name="changes.png", etag=hashlib.sha256(content).hexdigest()
    )


@router.get("/projects/{project_id}/train/changes/{image_id}", name="jobs.changes")
def show_changes(
    request: Request,
    actor: Viewer,
    session: SessionDep,
    project_id: int,
    image_id: int,
    form: Annotated[ChangesForm, Query()],
) -> Response:
    """Answer the preview of what the form's amounts do to an image."""
    image_service.get_image(session, actor=actor, project_id=project_id, image_id=image_id, action=Action.VIEW)
    query = form.model_dump(exclude_defaults=True)
    return render(
        request, "partials/jobs/_changes.html", project_id=project_id, changed_image_id=image_id, changes_query=query
    )


@router.get("/projects/{project_id}/train/{job_id}", name="jobs.show")
def show(request: Request, actor: Viewer, session: SessionDep, project_id: int, job_id: UUID) -> Response:
    """Show one training on a page of its own: what it said, how it ended."""
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    card = _card(session, project_id, job_id)
    return render(request, "pages/jobs/show.html", nav="train", project=project, card=card)


@router.get("/projects/{project_id}/train/{job_id}/card", name="jobs.card")
def card(request: Request, actor: Viewer, session: SessionDep, project_id: int, job_id: UUID) -> Response:
    """Answer a job's card, which asks for itself every two seconds while the job can change."""
    project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    return render(request, "partials/jobs/_card.html", card=_card(session, project_id, job_id))


@router.post("/projects/{project_id}/train/{job_id}/cancel", name="jobs.cancel")
def cancel(request: Request, actor: Trainer, session: SessionDep, project_id: int, job_id: UUID) -> Response:
    """Ask a job to stop; one that has ended answers 409."""
    job_service.request_cancel(session, actor=actor, project_id=project_id, job_id=job_id)
    if not wants_partial(request):
        return RedirectResponse(f"/projects/{project_id}/train", status_code=303)
    return render(request, "partials/jobs/_card.html", card=_card(session, project_id, job_id))


@router.post("/projects/{project_id}/train/{job_id}/delete", name="jobs.delete")
def delete(actor: Deleter, session: SessionDep, project_id: int, job_id: UUID) -> Response:
    """Remove an ended job that left no model."""
    job_service.delete_job(session, actor=actor, project_id=project_id, job_id=job_id)
    return RedirectResponse(f"/projects/{project_id}/train", status_code=303)


def _train_page(
    request: Request, session: Session, project: Project, *, status: int = 200, refusal: str | None = None
) -> Response:
    ready = queries.get_readiness(session, project)
    jobs = queries.list_jobs(session, project.id)
    task = TaskType(project.task)
    seconds = _expected_s(ready.n_labelled + ready.n_unlabelled, queries.list_past_runs(jobs), task)
    return render(
        request,
        "pages/jobs/train.html",
        status=status,
        nav="train",
        project=project,
        ready=ready,
        refusal=refusal,
        estimate=estimates.in_words(seconds),
        options=_options(task),
        symmetries=catalog.SYMMETRIES.values(),
        jobs=jobs,
        cards=_cards(session, jobs),
    )


def _options(task: TaskType) -> dict[str, list[tuple[Any, ...]]]:
    """Return the choices of the form, as its macros take them: (value, title, note), or (value, text) for a list.

    `changes` are (card, the task's own amount), where pictures are changed while a head learns.
    """
    default = catalog.DEFAULT_AUGMENTATIONS.get(task)
    backbones = [
        (card.id, card.name, f"{card.good_at} {_cost(card)} Licence: {card.licence}.")
        for card in catalog.BACKBONES.values()
        if task in card.tasks and not card.is_for_tests
    ]
    is_compared = task is TaskType.CLASSIFICATION
    return {
        "backbones": [
            (
                "auto",
                "Automatic",
                "Compared by cross-validation; the best for your images is taken."
                if is_compared
                else "The one that scored best on projects of this type.",
            ),
            *backbones,
        ],
        "methods": [
            (card.id, f"{card.shown_as}: {card.name.lower()}", card.description)
            for card in catalog.METHODS.values()
            if task in card.tasks
        ],
        "changes": [(card, f"{card.shown(default):g}") for card in catalog.AUGMENTATIONS] if default else [],
        "symmetries": [
            ("auto", "Automatic, by cross-validation" if is_compared else "Automatic"),
            *((card.id, f"{card.name}: {card.description}") for card in catalog.SYMMETRIES.values()),
        ],
    }


def _cost(card: catalog.BackboneCard) -> str:
    """Say how large a backbone is, and how much work next to the quickest of the catalog."""
    quickest = min(other.macs_m for other in catalog.BACKBONES.values() if not other.is_for_tests)
    work = f", {card.macs_m / quickest:.1f} × the work of the quickest" if card.macs_m > quickest else ""
    return f"{card.params_m:g} M weights, {card.input_px} px{work}."


def _cards(session: Session, jobs: list[JobRow]) -> list[JobCard]:
    """Return the cards of the jobs under way."""
    return _full_cards(session, [job for job in jobs if not job.is_terminal], jobs)


def _card(session: Session, project_id: int, job_id: UUID) -> JobCard:
    jobs = queries.list_jobs(session, project_id)
    job = next((job for job in jobs if job.id == job_id), None) or queries.get_job(session, project_id, job_id)
    return _full_cards(session, [job], jobs)[0]


def _full_cards(session: Session, wanted: list[JobRow], jobs: list[JobRow]) -> list[JobCard]:
    past, now = queries.list_past_runs(jobs), utc_now()
    events = queries.list_events(session, [job.id for job in wanted])
    expected = {job.id: _expected_s(job.n_images or 0, past, job.task) for job in wanted}
    return [make_card(job, events[job.id], now=now, expected_s=expected[job.id]) for job in wanted]


def _expected_s(n_images: int, past: list[estimates.PastRun], task: TaskType) -> float:
    # Where the worker has a disk of its own this says too much once, and never again.
    is_first = not past and not (get_settings().cache_dir / "backbones").is_dir()
    return estimates.estimate_s(n_images, past, task=task, is_first=is_first)
