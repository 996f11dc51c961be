"""A live page of every element of the interface, for whoever builds the next screen."""

from fastapi import APIRouter, Depends, Request, Response

from app.accounts.permissions import Action
from app.web.deps import page_actor
from app.web.rendering import render

router = APIRouter(include_in_schema=False)


@router.get("/styleguide", name="styleguide", dependencies=[Depends(page_actor(Action.VIEW))])
def styleguide(request: Request) -> Response:
    return render(request, "pages/styleguide.html")
