"""Upload forms, read only after the sender is known.

Declared as parameters, FastAPI would write a gigabyte to the disk before it asks who sends it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, BinaryIO, cast

from fastapi import Request
from starlette.datastructures import FormData, UploadFile

from app.core.errors import Invalid, PayloadTooLarge

MAX_FILES = 2000
MAX_FIELDS = 4000

# The body of the REST upload, for the documentation.
UPLOAD_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "A picture, or a zip of them"},
                        "name": {"type": "string", "description": "Instead of the file's own name"},
                        "label": {
                            "description": "The name of the class; for detection a Pascal VOC file (or its text); for "
                            "segmentation a PNG, BMP or TIFF of the picture's size with 8 bits, 0 for background",
                            "anyOf": [{"type": "string"}, {"type": "string", "format": "binary"}],
                        },
                        "label_map": {
                            "type": "string",
                            "description": "A JSON object from the values of a mask to names of classes; without it a "
                            "value is the index of a class",
                        },
                        "split": {"type": "string", "enum": ["train", "dev", "test"]},
                        "tags": {"type": "array", "items": {"type": "string"}},
                        "nothing_to_label": {
                            "type": "boolean",
                            "default": False,
                            "description": "Detection and segmentation: a person looked, and there is nothing to mark",
                        },
                        "metadata": {"type": "string", "description": "A JSON object: values by field name or id"},
                        "folders_as_classes": {
                            "type": "boolean",
                            "default": False,
                            "description": "In a zip, the last folder of a file is its class",
                        },
                    },
                }
            }
        },
    }
}


@asynccontextmanager
async def upload_form(request: Request) -> AsyncIterator[FormData]:
    """Give the form of a request; its files lie in memory or on the disk, and are gone afterwards."""
    async with request.form(max_files=MAX_FILES, max_fields=MAX_FIELDS) as form:
        yield form


def files_of(form: FormData, name: str) -> list[tuple[str, BinaryIO]]:
    """Return the files of a field with the names that their sender gave them; an empty file input is none."""
    found = [value for value in form.getlist(name) if isinstance(value, UploadFile)]
    return [(file.filename or "", cast("BinaryIO", file.file)) for file in found if file.filename or file.size]


def texts_of(form: FormData, name: str) -> list[str]:
    """Return the texts of a field, which may be repeated."""
    return [value for value in form.getlist(name) if isinstance(value, str)]


def text_of(form: FormData, name: str) -> str | None:
    """Return the text of a field, None where it is missing or empty.

    Raises:
        Invalid: A file was sent in its place.
    """
    value = form.get(name)
    if isinstance(value, UploadFile):
        raise _invalid(name, f"`{name}` is a text here, not a file.")
    return value or None


def text_or_file_of(form: FormData, name: str, *, max_bytes: int) -> str | bytes | None:
    """Return the text of a field or the content of its file, None where it is missing or empty.

    Raises:
        PayloadTooLarge: The file is over `max_bytes`.
    """
    value = form.get(name)
    if not isinstance(value, UploadFile):
        return value or None
    content = value.file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise PayloadTooLarge(f"`{name}` is at most {max_bytes // 1_000_000} MB.")
    return content or None


def flag_of(form: FormData, name: str) -> bool:
    """Return the truth of a field; a missing one is false.

    Raises:
        Invalid: The text is no truth value.
    """
    value = (text_of(form, name) or "false").lower()
    if value not in {"true", "1", "on", "yes", "false", "0", "off", "no"}:
        raise _invalid(name, f"`{name}` is true or false.")
    return value in {"true", "1", "on", "yes"}


def only_file_of(form: FormData, name: str) -> tuple[str, BinaryIO]:
    """Return the one file of a field. Raises `Invalid` where there is none, or more."""
    files = files_of(form, name)
    if len(files) != 1:
        raise _invalid(name, f"Send one file, as the form field `{name}`.")
    return files[0]


def _invalid(name: str, detail: str) -> Invalid:
    return Invalid(detail, [{"pointer": f"/{name}", "detail": detail, "code": "form"}])
