"""The web application: routers, guards and error answers put together."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import import_module

from fastapi import APIRouter, FastAPI
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.routing import Mount

from app.serving.cors import PredictCors
from app.settings import get_settings
from app.web import problems
from app.web.assets import STATIC_DIR, HashedStaticFiles
from app.web.rendering import render
from app.web.security import SecurityMiddleware

log = logging.getLogger(__name__)

# Modules whose `router` is served; the predictor process serves only the second list.
WEB_ROUTERS = [
    "app.images.api",
    "app.web.problem_types",
    "app.web.styleguide",
    "app.accounts.pages",
    "app.projects.pages",
    "app.images.uploads",
    "app.images.pages",
    "app.annotations.pages",
    "app.annotations.editor",
    "app.annotations.suggestions",
    "app.annotations.prompting.pages",
    "app.datasets.pages",
    "app.jobs.pages",
    "app.references.pages",
    "app.references.pictures",
    "app.registry.pages",
    "app.serving.pages",
    "app.projects.api",
    "app.annotations.api",
    "app.datasets.api",
    "app.jobs.api",
    "app.references.api",
    "app.registry.api",
    "app.serving.api",
]
PREDICTOR_ROUTERS = ["app.serving.predict", "app.web.health"]

# The only routes that answer without knowing who asks.
PUBLIC_ROUTES = frozenset({"health", "accounts.sign_in_form", "accounts.sign_in", "docs", "openapi", "problem_type"})


def create_app(*, predictor_only: bool = False) -> FastAPI:
    """Return the application.

    Args:
        predictor_only: Serve the prediction routes and health alone.

    Raises:
        RuntimeError: A route states no permission and is not in `PUBLIC_ROUTES`.
    """
    settings = get_settings()
    app = FastAPI(
        title="Kizu",
        version="0.1.0",
        summary="Teach a vision model to see your defects.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=_lifespan,
    )
    problems.install(app)
    # Routes are tried in order, each at a cost, so those that lines call all day come first.
    for module in PREDICTOR_ROUTERS if predictor_only else PREDICTOR_ROUTERS + WEB_ROUTERS:
        router: APIRouter = import_module(module).router
        _summarise(router)
        app.include_router(router)
    if not predictor_only:
        _add_documentation(app)
        app.router.routes.append(
            Mount("/static", HashedStaticFiles(directory=STATIC_DIR, check_dir=False), name="static")
        )
    check_permissions(app)
    app.state.predictor_only = predictor_only
    app.state.named_routes = {route.name: route for route in all_routes(app)}
    app.add_middleware(SecurityMiddleware, max_body_bytes=settings.max_upload_mb * 1_000_000)
    app.add_middleware(PredictCors)
    if settings.trusted_hosts != ["*"]:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=settings.trusted_hosts)
    return app


def _summarise(router: APIRouter) -> None:
    """Give each route its docstring's first line as summary; before it is included, for a copy is made then."""
    for route in router.routes:
        if isinstance(route, APIRoute):
            route.summary = route.summary or route.description.split("\n")[0].rstrip(".")


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    startup: list[Callable[[], None]] = getattr(app.state, "on_startup", [])
    shutdown: list[Callable[[], None]] = getattr(app.state, "on_shutdown", [])
    for hook in startup:
        hook()
    yield
    for hook in reversed(shutdown):
        hook()


def all_routes(app: FastAPI) -> list[APIRoute]:
    """Return every route that answers requests, wherever it was included; mounts are left out.

    Routers are included without a prefix of their own, so a route's path is the whole path.
    """
    originals = [context.original_route for context in iter_route_contexts(app.routes)]
    return [route for route in originals if isinstance(route, APIRoute)]


def check_permissions(app: FastAPI) -> None:
    """Refuse to start with a route that anybody could call: everything is denied unless granted.

    Raises:
        RuntimeError: Naming each such route.
    """
    open_routes = [
        f"{route.name} ({route.path})"
        for route in all_routes(app)
        if route.name not in PUBLIC_ROUTES and granted_action(route) is None
    ]
    if open_routes:
        raise RuntimeError(f"routes without a permission: {', '.join(open_routes)}")


def granted_action(route: APIRoute) -> object | None:
    """Return the action that a route asks leave for, or None."""
    pending = [route.dependant]
    while pending:
        dependant = pending.pop()
        action = getattr(dependant.call, "grants", None)
        if action is not None:
            return action
        pending.extend(dependant.dependencies)
    return None


def _add_documentation(app: FastAPI) -> None:
    @app.get("/openapi.json", name="openapi", include_in_schema=False)
    def openapi() -> dict[str, object]:
        return app.openapi()

    @app.get("/docs", name="docs", include_in_schema=False)
    def docs(request: Request) -> HTMLResponse:
        return render(request, "pages/docs.html")
