"""Names that people gave their files, made harmless. They are shown as text and never become a path."""

import re
import unicodedata

MAX_NAME = 255
MAX_FOLDER = 200
FALLBACK = "image"

_SEPARATOR = re.compile(r"[/\\]")
# Control, format (among them the marks that turn the direction of writing), surrogate, private, unassigned, breaks.
_UNSHOWN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def clean_name(raw: str) -> str:
    """Return the last component of a file's path as plain text of at most `MAX_NAME` characters.

    Slashes of both kinds separate; a name that is nothing but dots, or nothing at all, becomes `image`. A long name
    loses its middle, so that the ending stays.
    """
    name = _clean(_SEPARATOR.split(raw)[-1])
    if not name.strip("."):
        return FALLBACK
    if len(name) > MAX_NAME:
        name = f"{name[: MAX_NAME - 33].rstrip()}…{name[-32:].lstrip()}"
    return name


def folder_of(raw: str) -> str | None:
    """Return the last folder of a file's path, as `clean_name` would, or None for a file that lies in none."""
    folders = [_clean(part) for part in _SEPARATOR.split(raw)[:-1]]
    named = [folder for folder in folders if folder.strip(".")]
    return named[-1][:MAX_FOLDER].rstrip() if named else None


def _clean(text: str) -> str:
    shown = "".join(character for character in text if unicodedata.category(character) not in _UNSHOWN)
    return " ".join(unicodedata.normalize("NFC", shown).split())
