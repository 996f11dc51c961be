"""The files of a job's images."""

from pathlib import Path

from app.contracts.dataset import DatasetItem
from app.storage.current import blobs
from app.storage.errors import BlobMissing


class Originals:
    """The files of a job's images, and whether any turned out to be gone. Used by many threads at once."""

    def __init__(self) -> None:
        self.any_missing = False

    def open(self, item: DatasetItem) -> Path:
        """Return the file of an image on this machine, fetched where the store is remote.

        Raises:
            BlobMissing: It is no longer in the store.
        """
        try:
            return blobs().local_path(item.blob_key)
        except BlobMissing as error:
            self.any_missing = True
            raise BlobMissing("Its original file is no longer in the store.") from error
