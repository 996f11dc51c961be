"""What the OpenAPI description says of every route: the problem documents it may answer with."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from app.core.errors import Conflict, Invalid, NotAuthenticated, NotFound, PayloadTooLarge, PermissionDenied


class Problem(BaseModel):
    """A problem document (RFC 9457), with the member `message` that LandingLens's clients read."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: Any
    message: str


def problems(*errors: type) -> dict[int | str, dict[str, Any]]:
    """Return FastAPI's `responses` for these errors."""
    return {
        error.status: {
            "description": error.title,
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
            "model": Problem,
        }
        for error in errors
    }


PROBLEMS = problems(NotAuthenticated, PermissionDenied, NotFound, Conflict, PayloadTooLarge, Invalid)
