"""What each problem type means, made from the error classes: the page that a problem document's `type` points at."""

from collections.abc import Iterator

from fastapi import APIRouter, Request, Response

from app.core.errors import AppError, NotFound
from app.web.rendering import render

router = APIRouter(include_in_schema=False)


def problem_classes() -> dict[str, type[AppError]]:
    """Return every error class that is loaded, by its code."""
    return {error.code: error for error in _with_subclasses(AppError)}


def _with_subclasses(error: type[AppError]) -> Iterator[type[AppError]]:
    yield error
    for child in error.__subclasses__():
        yield from _with_subclasses(child)


@router.get("/problems/{code}", name="problem_type")
def problem_type(request: Request, code: str) -> Response:
    error = problem_classes().get(code)
    if error is None:
        raise NotFound("There is no problem type of this name.")
    meaning = (error.__doc__ or error.title).strip().split("\n\n")[0]
    return render(request, "pages/problem_type.html", error=error, meaning=" ".join(meaning.split()))
