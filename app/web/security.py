"""What guards every request: headers, cross-site refusal, and a bound on what is read."""

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CSP = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "font-src 'self'; connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
# Files that people uploaded get a policy under which nothing in them can run.
FILE_CSP = "default-src 'none'; sandbox; frame-ancestors 'none'"

HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}

_RAW_HEADERS = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# Routes for programs carry a key in a header, which no other site can make a browser send.
_KEYED_PREFIXES = ("/v1/", "/inference/", "/api/", "/pictor/")


class SecurityMiddleware:
    """Adds the security headers, and refuses cross-site changes and bodies that are too large before reading them."""

    def __init__(self, app: ASGIApp, *, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = list(message["headers"])
                given = {name.lower() for name, _ in own}
                message["headers"] = own + [header for header in _RAW_HEADERS if header[0] not in given]
            await send(message)

        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await refusal(scope, receive, send_with_headers)
            return

        read_bytes = 0

        async def bounded_receive() -> Message:
            nonlocal read_bytes
            message = await receive()
            if message["type"] == "http.request":
                read_bytes += len(message.get("body", b""))
                if read_bytes > self._max_body_bytes:
                    # The length was not announced, or not truly: the connection ends here.
                    return {"type": "http.disconnect"}
            return message

        await self._app(scope, bounded_receive, send_with_headers)

    def _refusal(self, scope: Scope, headers: Headers) -> JSONResponse | None:
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self._max_body_bytes:
            limit_mb = self._max_body_bytes // 1_000_000
            return _problem(413, "payload_too_large", "Too large", f"A request may hold up to {limit_mb} MB.")
        if (
            scope["method"] not in _SAFE_METHODS
            and not scope["path"].startswith(_KEYED_PREFIXES)
            and _is_cross_site(headers)
        ):
            return _problem(403, "cross_site", "Refused", "This request came from another site.")
        return None


def _is_cross_site(headers: Headers) -> bool:
    """Tell whether a browser sent this on behalf of another site.

    `Sec-Fetch-Site` is the browser's own word; older ones send `Origin`. A caller that sends neither is no browser,
    and has no cookie that it was tricked into sending.
    """
    fetch_site = headers.get("sec-fetch-site")
    if fetch_site is not None:
        return fetch_site not in {"same-origin", "none"}
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != headers.get("host")


def _problem(status: int, code: str, title: str, detail: str) -> JSONResponse:
    body = {"type": f"/problems/{code}", "title": title, "status": status, "detail": detail, "message": detail}
    return JSONResponse(body, status_code=status, media_type="application/problem+json")
