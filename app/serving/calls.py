"""Reading a prediction call: the key, the endpoint, and the multipart body."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from uuid import UUID

from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from app.accounts.permissions import Action
from app.core.errors import PayloadTooLarge
from app.serving import access, wire
from app.serving.access import Access
from app.serving.references import PART
from app.settings import get_settings
from app.web.deps import find_api_actor

_FORM_OVERHEAD_BYTES = 64_000
_MAX_PARTS = 8


@dataclass(frozen=True, slots=True)
class PredictCall:
    """What a caller sent: the picture's bytes as they came, and what was said of it.

    `reference` is the picture that it is to be compared with, where one came along.
    """

    picture: bytes
    metadata: dict[str, str | float | bool]
    reference: bytes | None = None


async def endpoint_access(request: Request) -> Access:
    """Return the caller's leave to call the endpoint that the query names. Unknown query keys are ignored.

    Raises:
        NotAuthenticated: No valid key.
        RequestValidationError: `endpoint_id` is missing or no UUID.
        PermissionDenied: The key belongs to another endpoint, or may not predict.
        NotFound: No such endpoint.
    """
    key = request.headers.get("apikey") or _bearer(request)
    if not key:
        raise access.unauthorized()
    text = request.query_params.get("endpoint_id")
    try:
        endpoint_id = UUID(text or "")
    except ValueError:
        if await run_in_threadpool(find_api_actor, request) is None:
            raise access.unauthorized() from None
        raise _bad_endpoint_id(text) from None
    cache = access.cache()
    found = cache.find(key, endpoint_id)
    return found if found is not None else await run_in_threadpool(cache.check, key, endpoint_id)


endpoint_access.grants = Action.PREDICT  # type: ignore[attr-defined]  # read by the test that walks all routes


async def read_call(request: Request, *, n_pictures: int = 1) -> PredictCall:
    """Return the content of a multipart call that may hold up to `n_pictures`.

    Raises:
        MissingPicture: There is no part `file`, or the body is no multipart form.
        AddressRefused: There is a `file_url` and no picture.
        PayloadTooLarge: The body is larger than so many of the largest pictures.
        Invalid: The metadata is not acceptable.
    """
    limit = n_pictures * get_settings().max_image_mb * 1_000_000 + _FORM_OVERHEAD_BYTES
    if int(request.headers.get("content-length", "0")) > limit:
        raise _too_large()
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise wire.missing_picture()
    parser = MultiPartParser(
        request.headers, _bounded(request, limit), max_files=_MAX_PARTS, max_fields=_MAX_PARTS, max_part_size=limit
    )
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:  # KeyError: a content type without boundary
        raise wire.missing_picture() from error
    try:
        return PredictCall(
            picture=await _picture(form.get("file"), form.get("file_url")),
            metadata=wire.read_metadata(_text(form.get("metadata"))),
            reference=await _optional(form.get(PART)) if n_pictures > 1 else None,
        )
    finally:
        await form.close()


async def _picture(part: UploadFile | str | None, address: UploadFile | str | None) -> bytes:
    if isinstance(part, UploadFile):
        return await part.read()
    if isinstance(part, str) and part:
        return part.encode("latin-1", "replace")  # a part without filename; what is no picture is refused by its bytes
    if isinstance(address, str) and address:
        raise wire.address_refused()
    raise wire.missing_picture()


async def _optional(part: UploadFile | str | None) -> bytes | None:
    return (await part.read() or None) if isinstance(part, UploadFile) else None


def _text(part: UploadFile | str | None) -> str | None:
    return part if isinstance(part, str) else None


async def _bounded(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    """Yield the body as it comes, and stop reading one that grows past `limit` without having said so."""
    n_bytes = 0
    try:
        async for piece in request.stream():
            n_bytes += len(piece)
            if n_bytes > limit:
                raise _too_large()
            yield piece
    except ClientDisconnect as error:  # also how the outer bound on bodies shows itself
        raise _too_large() from error


def _bearer(request: Request) -> str | None:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else None


def _bad_endpoint_id(text: str | None) -> RequestValidationError:
    message, kind = (
        ("value is not a valid uuid", "type_error.uuid") if text else ("field required", "value_error.missing")
    )
    return RequestValidationError([{"loc": ("query", "endpoint_id"), "msg": message, "type": kind, "input": text}])


def _too_large() -> PayloadTooLarge:
    limit_mb = get_settings().max_image_mb
    return PayloadTooLarge(f"A picture may hold up to {limit_mb} MB.", max_bytes=limit_mb * 1_000_000)
