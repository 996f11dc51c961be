"""Whether everything is up."""

import logging

import redis
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.db.session import new_session
from app.queue import alive

router = APIRouter(include_in_schema=False)
log = logging.getLogger(__name__)

BACKGROUND_PARTS = ["worker-gpu", "worker-cpu", "scheduler"]


@router.get("/healthz", name="health")
def health(request: Request) -> JSONResponse:
    """Answer 200 when every part is up, else 503; either way say how each part is.

    A predictor needs the database alone, so it does not ask for the rest. Nothing here tells a stranger more than
    which part is down.
    """
    parts = {"web": True, "database": _is_database_up()}
    if not request.app.state.predictor_only:
        parts |= _background_parts()
    healthy = all(parts.values())
    body = {"status": "ok" if healthy else "down", "parts": {name: {"ok": ok} for name, ok in parts.items()}}
    return JSONResponse(body, status_code=200 if healthy else 503, headers={"Cache-Control": "no-store"})


def _is_database_up() -> bool:
    try:
        with new_session() as session:
            session.execute(text("SELECT 1"))
    except SQLAlchemyError:
        log.warning("the database does not answer", exc_info=True)
        return False
    return True


def _background_parts() -> dict[str, bool]:
    try:
        up = alive.find_alive(BACKGROUND_PARTS)
    except redis.RedisError:
        return {"redis": False, **dict.fromkeys(BACKGROUND_PARTS, False)}
    return {"redis": True, **{part: part in up for part in BACKGROUND_PARTS}}
