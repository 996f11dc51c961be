"""Picture files to answers, with headers under which nothing in a file can run in a browser."""

import mimetypes
import re
from collections.abc import Iterator
from typing import BinaryIO
from urllib.parse import quote

from fastapi.responses import Response, StreamingResponse

from app.web.security import FILE_CSP

_PLAIN = re.compile(r"[^A-Za-z0-9._ -]")
_CHUNK_BYTES = 256 * 1024
# The bytes behind an image never change; who may see them can, so only the person's own browser keeps them.
CACHE_FOREVER = "private, max-age=31536000, immutable"


def file_response(file: BinaryIO, *, media_type: str, name: str, etag: str, download: bool = False) -> Response:
    """Return an answer that streams `file` and closes it.

    Args:
        file: Positioned at its beginning.
        media_type: From our own list; never what an uploader said.
        name: The name that a person gave it; used as the name of the download.
        etag: Changes whenever the bytes do.
        download: Save it instead of showing it.
    """
    length = file.seek(0, 2)
    file.seek(0)
    headers = {
        "Content-Length": str(length),
        "Content-Disposition": f"{'attachment' if download else 'inline'}; {_file_name(name, media_type)}",
        "Content-Security-Policy": FILE_CSP,
        "Cross-Origin-Resource-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": CACHE_FOREVER,
        "ETag": f'"{etag}"',
    }
    if length <= _CHUNK_BYTES:
        with file:
            return Response(file.read(), media_type=media_type, headers=headers)
    return StreamingResponse(_chunks(file), media_type=media_type, headers=headers)


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _file_name(name: str, media_type: str) -> str:
    """Return the parameters that name a download, with the ending that its content has."""
    endings = mimetypes.guess_all_extensions(media_type) or [""]
    if not name.lower().endswith(tuple(endings)):
        name += ".webp" if media_type == "image/webp" else endings[0]
    plain = _PLAIN.sub("_", name)
    return f"filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
