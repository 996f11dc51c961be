"""Errors to answers: problem documents for programs (RFC 9457), partials for htmx, pages for people."""

import json
import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, Response
from starlette.exceptions import HTTPException

from app.core.errors import AppError, Invalid, NotAuthenticated, PasswordChangeRequired
from app.web.rendering import render
from app.web.security import HEADERS

log = logging.getLogger(__name__)

API_PREFIXES = ("/v1/", "/inference/", "/api/", "/pictor/", "/healthz", "/openapi.json")
_TITLES = {400: "Bad request", 404: "Not found", 405: "Method not allowed", 413: "Too large"}


def install(app: FastAPI) -> None:
    """Register the handlers on `app`."""
    app.add_exception_handler(AppError, _app_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _bug)


def is_api(request: Request) -> bool:
    """Tell whether the caller is a program, by the path that was routed (never by the Host header's doing)."""
    return request.scope["path"].startswith(API_PREFIXES)


def wants_partial(request: Request) -> bool:
    return request.headers.get("HX-Request-Type") == "partial"


def wants_json(request: Request) -> bool:
    """Tell whether one of our own scripts asked (uploads), which reads JSON."""
    return request.headers.get("X-Requested-With") == "kizu"


def _app_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, AppError)
    extra = dict(error.extra)
    if isinstance(error, Invalid):
        extra["errors"] = error.errors
    if isinstance(error, NotAuthenticated) and not is_api(request) and not wants_json(request):
        return _to_sign_in(request)
    if isinstance(error, PasswordChangeRequired) and not is_api(request) and not wants_json(request):
        return _forward(request, "/settings/account", status=403)
    return _answer(
        request,
        status=error.status,
        code=error.code,
        title=error.title,
        detail=error.detail,
        headers=error.headers,
        **extra,
    )


def _to_sign_in(request: Request) -> Response:
    target = "/signin"
    if request.method == "GET" and not wants_partial(request):
        query = f"?{request.url.query}" if request.url.query else ""
        target += f"?next={quote(request.scope['path'] + query, safe='')}"
    return _forward(request, target, status=401)


def _forward(request: Request, target: str, *, status: int) -> Response:
    if wants_partial(request):
        return Response(status_code=status, headers={"HX-Redirect": target})
    return RedirectResponse(target, status_code=303)


def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [
        {"pointer": "/" + "/".join(str(part) for part in item["loc"][1:]), "detail": _said(item), "code": item["type"]}
        for item in error.errors()
    ]
    # The published clients read FastAPI's own list under `detail`; see the wire contract, section 2.
    wire = [{"loc": list(item["loc"]), "msg": item["msg"], "type": item["type"]} for item in error.errors()]
    return _answer(
        request,
        status=422,
        code="invalid",
        title="Please check the input",
        detail=wire if is_api(request) else "; ".join(f"{e['pointer'].strip('/')}: {e['detail']}" for e in errors),
        errors=errors,
    )


def _said(item: Mapping[str, Any]) -> str:
    """Return a fault in words; a sentence of our own stands without what pydantic writes before it."""
    return str(item["msg"]).removeprefix("Value error, ")


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    title = _TITLES.get(error.status_code, str(error.detail))
    return _answer(
        request,
        status=error.status_code,
        code=title.lower().replace(" ", "_"),
        title=title,
        detail="There is nothing at this address." if error.status_code == 404 else str(error.detail),
        headers=error.headers or {},
    )


def _bug(request: Request, error: Exception) -> Response:
    error_id = uuid4().hex[:12]
    log.error("error %s at %s %s", error_id, request.method, request.scope["path"], exc_info=error)
    return _answer(
        request,
        status=500,
        code="internal",
        title="Something went wrong",
        detail=f"This is a fault of Kizu's, not yours. It is in the log as {error_id}.",
        headers=HEADERS,  # Starlette answers a bug from outside of every middleware, also of the one that sets these
        error_id=error_id,
    )


def _answer(
    request: Request,
    *,
    status: int,
    code: str,
    title: str,
    detail: Any,
    headers: Mapping[str, str] | None = None,
    **extra: Any,
) -> Response:
    headers = dict(headers or {})
    problem = {
        "type": f"/problems/{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": request.scope["path"],
        # `message` is what the published clients read.
        "message": detail if isinstance(detail, str) else title,
        **extra,
    }
    if is_api(request) or wants_json(request):
        # What a caller sent is repeated here; half of a surrogate pair in it has no UTF-8.
        content = json.dumps(problem, ensure_ascii=False, default=str).encode("utf-8", "replace")
        return Response(content, status_code=status, headers=headers, media_type="application/problem+json")
    if wants_partial(request):
        # A form with a place for it says so by `hx-status`, which goes before these.
        headers |= {"HX-Retarget": "#toasts", "HX-Reswap": "beforeend"}
        return render(request, "partials/_problem.html", status=status, headers=headers, problem=problem)
    return render(request, "pages/problem.html", status=status, headers=headers, problem=problem)
