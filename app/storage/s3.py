"""Blobs in an S3-compatible store, with a cache of files on this machine."""

import io
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlparse

from app.core.ids import new_uuid
from app.core.paths import inside
from app.storage.errors import BlobMissing


class S3Storage:
    """Objects below `s3://bucket/prefix`.

    Keys are written once, so a file in `cache_dir` never goes stale and is served without asking the store again.
    """

    def __init__(
        self, url: str, *, cache_dir: Path, endpoint_url: str | None, access_key: str | None, secret_key: str | None
    ) -> None:
        import boto3  # only where S3 is configured: 40 MB that an embedded installation does without

        parts = urlparse(url)
        self._bucket = parts.netloc
        self._prefix = parts.path.strip("/")
        self._cache_dir = cache_dir
        self._client: Any = boto3.client(
            "s3", endpoint_url=endpoint_url, aws_access_key_id=access_key, aws_secret_access_key=secret_key
        )

    def put(self, key: str, content: bytes | BinaryIO | Path) -> None:
        if isinstance(content, Path):
            self._client.upload_file(str(content), self._bucket, self._full(key))
            return
        body = io.BytesIO(content) if isinstance(content, bytes) else content
        self._client.upload_fileobj(body, self._bucket, self._full(key))

    def open(self, key: str) -> BinaryIO:
        return self.local_path(key).open("rb")

    def read(self, key: str) -> bytes:
        return self.local_path(key).read_bytes()

    def local_path(self, key: str) -> Path:
        path = inside(self._cache_dir, key)
        if path.is_file():
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{new_uuid().hex}")
        try:
            self._client.download_file(self._bucket, self._full(key), str(partial))
            partial.replace(path)
        except self._client.exceptions.ClientError as error:
            if error.response.get("Error", {}).get("Code") in {"404", "NoSuchKey", "NotFound"}:
                raise BlobMissing("The file that belongs here is no longer in the store.") from error
            raise
        finally:
            partial.unlink(missing_ok=True)
        return path

    def exists(self, key: str) -> bool:
        try:
            self._client.head_object(Bucket=self._bucket, Key=self._full(key))
        except self._client.exceptions.ClientError as error:
            if error.response.get("Error", {}).get("Code") in {"404", "NoSuchKey", "NotFound"}:
                return False
            raise
        return True

    def delete(self, key: str) -> None:
        self._client.delete_object(Bucket=self._bucket, Key=self._full(key))
        inside(self._cache_dir, key).unlink(missing_ok=True)

    def delete_prefix(self, prefix: str) -> None:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._full(prefix).rstrip("/") + "/"
        )
        for page in pages:
            names = [{"Key": item["Key"]} for item in page.get("Contents", [])]
            if names:
                self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": names, "Quiet": True})

    def _full(self, key: str) -> str:
        return f"{self._prefix}/{key}" if self._prefix else key
