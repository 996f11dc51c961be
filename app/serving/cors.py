"""Browsers on other sites may call the prediction route: it takes a key in a header and no cookie."""

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PREFIX = "/inference/v1/"
_ALLOWED_HEADERS = "accept, apikey, apisecret, authorization, content-type, contenttype, x-event"


class PredictCors:
    """Answers preflights of the prediction route and opens its answers to every origin, never with credentials."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await self._app(scope, receive, send)
            return

        async def send_open(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Access-Control-Allow-Origin"] = "*"
                headers["Access-Control-Expose-Headers"] = "Retry-After"
            await send(message)

        if scope["method"] == "OPTIONS":
            await _preflight(scope, receive, send_open)
            return
        await self._app(scope, receive, send_open)


_preflight = Response(
    status_code=204,
    headers={
        "Access-Control-Allow-Methods": "POST, OPTIONS",
        "Access-Control-Allow-Headers": _ALLOWED_HEADERS,
        "Access-Control-Max-Age": "600",
        "Allow": "POST, OPTIONS",
    },
)
