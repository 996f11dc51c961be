"""Keyset pagination: a page costs the same at the end of a list as at its beginning."""

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.core.errors import Invalid

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows of a list, and the cursor of what follows (None at the end)."""

    items: list[T]
    next_cursor: str | None


def encode_cursor(*position: int | float | str | None) -> str:
    """Return the position of a page's last row as an opaque, URL-safe text."""
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")


def decode_cursor(cursor: str, length: int) -> list[int | float | str | None]:
    """Return the position inside `cursor`.

    Raises:
        Invalid: The text is not a cursor of `length` plain values.
    """
    try:
        position = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise Invalid("This page link is not valid. Start again from the first page.") from error
    if (
        not isinstance(position, list)
        or len(position) != length
        or not all(value is None or isinstance(value, int | float | str) for value in position)
    ):
        raise Invalid("This page link is not valid. Start again from the first page.")
    return position
