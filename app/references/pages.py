"""The page of reference images: the rule, what it makes of the images, and the references themselves."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from app.accounts.permissions import Action, Actor
from app.contracts.tasks import TaskType
from app.core.errors import Invalid
from app.db.tables import Project
from app.projects import service as project_service
from app.references import attaching, queries, rules
from app.references import service as reference_service
from app.references.schemas import RuleIn
from app.web.deps import SessionDep, page_actor
from app.web.rendering import render

router = APIRouter(prefix="/projects/{project_id}/references", include_in_schema=False)

Viewer = Annotated[Actor, Depends(page_actor(Action.VIEW))]
Editor = Annotated[Actor, Depends(page_actor(Action.EDIT))]
_N_SHOWN = 60


class RuleForm(BaseModel):
    """The form of the rule; fields of the kinds that were not chosen count for nothing."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["none", "one", "name", "metadata"] = "none"
    image_ending: str = Field(default="", max_length=100)
    reference_ending: str = Field(default="", max_length=100)
    field_id: str = Field(default="", pattern=r"^[0-9]{0,9}$")

    def to_rule(self) -> RuleIn:
        return RuleIn(
            kind=self.kind,
            image_ending=self.image_ending,
            reference_ending=self.reference_ending,
            field_id=int(self.field_id) if self.field_id.strip("0") else None,
        )


@router.get("", name="references.show")
def show(request: Request, actor: Viewer, session: SessionDep, project_id: int) -> Response:
    """Answer the page."""
    project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.VIEW)
    return _page(request, session, project)


@router.post("", name="references.set_rule")
def set_rule(
    request: Request, actor: Editor, session: SessionDep, project_id: int, form: Annotated[RuleForm, Form()]
) -> Response:
    """Set the rule and go back to the page; a 422 is the page again, with what is wrong."""
    try:
        reference_service.set_rule(session, actor=actor, project_id=project_id, rule=form.to_rule().rule())
    except Invalid as error:
        session.rollback()
        project = project_service.get_for(session, actor=actor, project_id=project_id, action=Action.EDIT)
        return _page(request, session, project, given=form, refusal=error.detail)
    return _to_page(request, project_id)


@router.post("/unmark", name="references.unmark")
def unmark(
    request: Request, actor: Editor, session: SessionDep, project_id: int, image_id: Annotated[list[int], Form()]
) -> Response:
    """Make references images again."""
    reference_service.unmark(session, actor=actor, project_id=project_id, image_ids=image_id)
    return _to_page(request, project_id)


def _page(
    request: Request,
    session: Session,
    project: Project,
    *,
    given: RuleForm | None = None,
    refusal: str | None = None,
) -> Response:
    rule = rules.of(project)
    marked = queries.list_marked(session, project.id, rule)
    form = given or (RuleForm(**rule.model_dump(exclude={"field", "field_id"})) if rule else RuleForm())
    if given is None and rule is not None and rule.field_id is not None:
        form = form.model_copy(update={"field_id": str(rule.field_id)})
    fields = [
        (str(one.id), one.name)
        for one in project_service.list_metadata_fields(session, project.id)
        if not one.allow_multiple
    ]
    return render(
        request,
        "pages/references/show.html",
        status=422 if refusal else 200,
        nav="data",
        project=project,
        may_compare=TaskType(project.task).has_shapes,
        form=form,
        fields=fields,
        refusal=refusal,
        marked=marked[:_N_SHOWN],
        n_marked=len(marked),
        pairing=attaching.find_pairing(session, project),
    )


def _to_page(request: Request, project_id: int) -> Response:
    return RedirectResponse(str(request.app.url_path_for("references.show", project_id=project_id)), 303)
