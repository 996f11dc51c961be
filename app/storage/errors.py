"""Errors of blob storage."""

from app.core.errors import NotFound


class BlobMissing(NotFound):
    code, title = "blob_missing", "The file is gone"
