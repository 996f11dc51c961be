"""What the OpenAPI description says of every route: the problem documents it may answer with."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from app.core.errors import (
    AppError,
    Conflict,
    Invalid,
    NotAuthenticated,
    NotFound,
    PayloadTooLarge,
    PermissionDenied,
)


class Problem(BaseModel):
    """A problem document (RFC 9457), with the member `message` that LandingLens's clients read."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: Any
    message: str


class Unreadable(AppError):
    """The body is not of the form that its content type says."""

    status, code, title = 400, "bad_request", "Bad request"


def problems(*errors: type[AppError]) -> dict[int | str, dict[str, Any]]:
    """Return FastAPI's `responses` for these errors."""
    return {
        error.status: {
            "description": error.title,
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
            "model": Problem,
        }
        for error in errors
    }


PROBLEMS = problems(Unreadable, NotAuthenticated, PermissionDenied, NotFound, Conflict, PayloadTooLarge, Invalid)
