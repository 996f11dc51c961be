"""The reference images of a training: joined with its images while it learns, and laid into its bundle."""

import hashlib
import io
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from PIL import Image

from app.contracts.dataset import Dataset, DatasetItem
from app.contracts.reference import BundledReferences, ReferenceImage, reference_file
from app.inference.preprocess import Compared, open_picture
from worker.ml.data.extraction import OpenImage

# A model of more is of pairs, each reference for a picture of its own: none of them will be asked for again.
MAX_BUNDLED = 200
_N_KEPT = 8  # decoded ones


class NoReference(Exception):
    """An image of a dataset that is compared has nothing to be compared with."""


class ComparedImages:
    """Opens the images of a dataset together with their references. Used by many threads at once.

    Args:
        dataset: One with a rule for references.
        open_image: Opens an original, and a reference alike.
    """

    def __init__(self, dataset: Dataset, open_image: OpenImage) -> None:
        if dataset.reference_rule is None:
            raise ValueError("the dataset has no references")
        self._rule, self._dataset, self._open = dataset.reference_rule, dataset, open_image
        self._opened: Callable[[ReferenceImage], Image.Image] = lru_cache(maxsize=_N_KEPT)(self._read)

    def open(self, item: DatasetItem) -> Compared:
        """Return an image with its reference, both still files where they are.

        Raises:
            NoReference: It has none.
        """
        return Compared(self._open(item), self._opened(_reference_of(item)))

    def bundle(self, directory: Path) -> BundledReferences:
        """Write the references as the engine will read them into a bundle's folder; none where they are too many."""
        distinct = {
            item.reference.key: item.reference
            for item in (*self._dataset.items, *self._dataset.unlabelled)
            if item.reference is not None
        }
        if len(distinct) > MAX_BUNDLED:
            return BundledReferences(rule=self._rule)
        pictures = {}
        for key, reference in sorted(distinct.items()):
            out = io.BytesIO()
            self._opened(reference).save(out, "PNG")
            sha256 = pictures[key] = hashlib.sha256(out.getvalue()).hexdigest()
            (directory / reference_file(sha256)).write_bytes(out.getvalue())
        return BundledReferences(rule=self._rule, pictures=pictures)

    def open_for(self, bundled: BundledReferences, item: DatasetItem) -> Compared:
        """Return an image as a call would bring it: where the bundle has its reference, with the key alone.

        Raises:
            NoReference: It has none.
        """
        if not bundled.pictures:
            return self.open(item)
        return Compared(self._open(item), key=_reference_of(item).key)

    def _read(self, reference: ReferenceImage) -> Image.Image:
        item = DatasetItem(image_id=0, split=None, **reference.model_dump(exclude={"key"}))
        return open_picture(self._open(item))


def _reference_of(item: DatasetItem) -> ReferenceImage:
    if item.reference is None:
        raise NoReference("It has no reference image.")
    return item.reference
