"""Values that a database cannot hold, refused before they are sent.

PostgreSQL takes no NUL and no half of a surrogate pair in a text, and no whole number beyond its column. SQLite takes
the first, and each driver raises something else for the rest. Every statement is looked over here, so that both behave
alike and such a value is the sender's mistake (422) wherever it comes in, never a fault of ours (500).
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy.exc import DontWrapMixin

from app.core.errors import Invalid

MAX_INTEGER = 2**63 - 1
# In JSON text a NUL stands escaped; an even number of backslashes before it belongs to the text itself.
_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


class Unstorable(Invalid, DontWrapMixin):
    """A text holds a NUL or half a character, or a number is beyond what is counted with."""

    code, title = "unstorable", "Cannot be stored"


def check_values(parameters: Any) -> None:
    """Look over the parameters of one statement: one row, or a list of rows.

    Raises:
        Unstorable: One of them cannot be held.
    """
    # By shape: an insert of many rows with RETURNING is announced as many, yet goes out as one flat row.
    for row in parameters if isinstance(parameters, list) else (parameters,):
        values: Iterable[Any] = row.values() if isinstance(row, Mapping) else row
        for value in values:
            if isinstance(value, str):
                _check_text(value)
            elif isinstance(value, int) and not -MAX_INTEGER <= value <= MAX_INTEGER:
                raise Unstorable("A number in this request is too large.")


def _check_text(text: str) -> None:
    if "\0" in text:
        raise Unstorable("A text in this request holds a NUL character.")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise Unstorable("A text in this request holds half of a character.") from error


def to_json(value: Any) -> str:
    """Return the text of a JSON column.

    Raises:
        Unstorable: It holds a NUL, half of a character, or a number that JSON does not know.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError as error:
        raise Unstorable("A number in this request is not finite.") from error
    _check_text(text)
    if "\\u0000" in text and _ESCAPED_NUL.search(text):
        raise Unstorable("A text in this request holds a NUL character.")
    return text
