"""Static files under addresses that hold their content's hash, so that browsers keep them for good."""

import hashlib
from functools import lru_cache
from pathlib import Path

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app.core.paths import inside
from app.settings import ROOT

STATIC_DIR = ROOT / "static"


@lru_cache(maxsize=4096)
def _hash(path: Path, _mtime_ns: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def asset(name: str) -> str:
    """Return the address of a file below `static/`.

    Raises:
        FileNotFoundError: There is no such file; a template that names one fails at once, not in the browser.
    """
    path = inside(STATIC_DIR, name)
    return f"/static/{name}?v={_hash(path, path.stat().st_mtime_ns)}"


class HashedStaticFiles(StaticFiles):
    """Serves `static/`: for a year where the address names the content, revalidated where it does not."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        is_named = b"v=" in scope.get("query_string", b"")
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if is_named else "no-cache"
        return response
