"""Errors that are part of the product: each has a status, a stable code and a sentence for the person who meets it.

Raise these in services; the edge (`app.web.problems`) turns them into an answer. A domain error lives next to the
service that raises it. Anything else that escapes is a bug and is answered with a neutral sentence and an error id.
"""

from typing import Any, ClassVar


class AppError(Exception):
    """Base of every error that a person or a program may see.

    Args:
        detail: One or two plain sentences: what happened, and what to do.
        **extra: Members added to the problem document, for programs.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Something went wrong"

    def __init__(self, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extra = extra

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the answer, for example `Retry-After`."""
        return {}


class NotAuthenticated(AppError):
    status, code, title = 401, "not_authenticated", "Sign in first"

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": "ApiKey"}


class PasswordChangeRequired(AppError):
    """The person signed in with a password that somebody else knows, and must choose their own first."""

    status, code, title = 403, "password_change_required", "Choose your own password first"


class PermissionDenied(AppError):
    status, code, title = 403, "permission_denied", "Not allowed"


class CrossSiteRefused(AppError):
    """A browser sent this request on behalf of another site."""

    status, code, title = 403, "cross_site", "Refused"


class MethodNotAllowed(AppError):
    """The address exists, but not for this method; `Allow` names those that it takes."""

    status, code, title = 405, "method_not_allowed", "Method not allowed"


class NotFound(AppError):
    """There is nothing here, or nothing that the asker may see."""

    status, code, title = 404, "not_found", "Not found"


class Conflict(AppError):
    status, code, title = 409, "conflict", "Conflict"


class StaleVersion(Conflict):
    """Somebody else changed the thing meanwhile; `extra["current"]` holds what it is now."""

    code, title = "stale_version", "Changed elsewhere meanwhile"


class NameTaken(Conflict):
    code, title = "name_taken", "Name already in use"


class NothingToUndo(Conflict):
    code, title = "nothing_to_undo", "Nothing to undo"


class InUse(Conflict):
    code, title = "in_use", "Still in use"


class PayloadTooLarge(AppError):
    status, code, title = 413, "payload_too_large", "Too large"


class UnsupportedMedia(AppError):
    status, code, title = 415, "unsupported_media", "Not a supported image"


class Invalid(AppError):
    """The request is well formed but its content is not acceptable.

    `errors` holds one `{"pointer": "/name", "detail": "...", "code": "..."}` for each fault.
    """

    status, code, title = 422, "invalid", "Please check the input"

    def __init__(self, detail: str, errors: list[dict[str, str]] | None = None, **extra: Any) -> None:
        super().__init__(detail, **extra)
        self.errors = errors or []


class _RetryLater(AppError):
    def __init__(self, detail: str, *, retry_after_s: int = 1, **extra: Any) -> None:
        super().__init__(detail, **extra)
        self.retry_after_s = max(1, retry_after_s)

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.retry_after_s)}


class RateLimited(_RetryLater):
    status, code, title = 429, "rate_limited", "Too many requests"


class Unavailable(_RetryLater):
    status, code, title = 503, "unavailable", "Not available right now"
