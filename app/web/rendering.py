"""Templates to answers."""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from app.settings import ROOT
from app.web.assets import asset

TEMPLATES_DIR = ROOT / "templates"


@lru_cache
def environment() -> Environment:
    env = Environment(
        loader=FileSystemLoader(TEMPLATES_DIR),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.globals["asset"] = asset
    env.filters["bytes"] = human_bytes
    env.filters["count"] = lambda number: f"{number:,}".replace(",", "\u202f")
    env.filters["utc"] = utc_text
    return env


def render(
    request: Request,
    template: str,
    *,
    status: int = 200,
    block: str | None = None,
    headers: Mapping[str, str] | None = None,
    **context: Any,
) -> HTMLResponse:
    """Render a template, or one `block` of it, to an answer.

    Besides `context`, templates see `request`, `url_for`, `actor` (None when nobody is signed in), `project` (None
    outside of one) and `nav` (the entry of the rail that is current).
    """
    values: dict[str, Any] = {
        "request": request,
        "url_for": _url_for(request),
        "actor": getattr(request.state, "actor", None),
        "project": None,
        "nav": "",
        "jobs_url": "/jobs/running" if "jobs.running" in request.app.state.named_routes else None,
        **context,
    }
    source = environment().get_template(template)
    if block is None:
        html = source.render(values)
    else:
        html = "".join(source.blocks[block](source.new_context(values)))
    return HTMLResponse(html, status_code=status, headers=dict(headers or {}))


def _url_for(request: Request) -> Any:
    def url_for(name: str, /, **params: Any) -> str:
        """Return the path of a named route; names that are no path parameters become the query. None is left out."""
        from urllib.parse import urlencode

        route = request.app.state.named_routes.get(name)
        if route is None:
            raise LookupError(f"no route is named {name!r}")
        path_names = set(route.param_convertors)
        path = str(request.app.url_path_for(name, **{k: v for k, v in params.items() if k in path_names}))
        query = {k: v for k, v in params.items() if k not in path_names and v is not None}
        return f"{path}?{urlencode(query, doseq=True)}" if query else path

    return url_for


def human_bytes(number: float) -> str:
    """Return a size for people: `1.4 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000 or unit == "GB":
            return f"{number:.0f} {unit}" if unit in {"B", "kB"} else f"{number:.1f} {unit}"
        number /= 1000
    raise AssertionError


def utc_text(moment: datetime) -> str:
    """Return a moment as `2026-05-01 13:45 UTC`."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"
