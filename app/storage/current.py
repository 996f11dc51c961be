"""The store that the settings name."""

from functools import lru_cache

from app.settings import get_settings
from app.storage.base import BlobStorage
from app.storage.local import LocalStorage


@lru_cache
def blobs() -> BlobStorage:
    """Return the blob store of this process."""
    settings = get_settings()
    if settings.storage_url is None:
        return LocalStorage(settings.blob_dir)
    from app.storage.s3 import S3Storage

    return S3Storage(
        settings.storage_url,
        cache_dir=settings.cache_dir / "blobs",
        endpoint_url=settings.s3_endpoint_url,
        access_key=settings.s3_access_key.get_secret_value() if settings.s3_access_key else None,
        secret_key=settings.s3_secret_key.get_secret_value() if settings.s3_secret_key else None,
    )
