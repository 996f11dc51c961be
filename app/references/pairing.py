"""Which image goes with which reference, and what is missing, in words. Pure functions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from app.contracts.reference import ReferenceImage, ReferenceRule
from app.core.words import named
from app.inference.reference import is_same_shape


@dataclass(frozen=True, slots=True)
class Marked:
    """A reference of a project. `value` is its value in the rule's metadata field."""

    id: int
    name: str
    sha256: str
    blob_key: str
    width_px: int
    height_px: int
    value: object = None


@dataclass(frozen=True, slots=True)
class Subject:
    """An image that is compared, or `n` of them that are alike in all that matters here."""

    name: str
    width_px: int
    height_px: int
    is_labelled: bool
    value: object = None
    n: int = 1


@dataclass
class Pairing:
    """What a rule makes of a project's images.

    `labelled` and the others count images; the names are of the first few. `by_key` holds the references that stand
    for something, `doubled` those of which a second one says the same.
    """

    rule: ReferenceRule
    by_key: dict[str, Marked] = field(default_factory=dict)
    doubled: list[str] = field(default_factory=list)
    keyless: list[str] = field(default_factory=list)
    n_images: int = 0
    n_labelled: int = 0
    n_without: int = 0
    n_labelled_without: int = 0
    without: list[str] = field(default_factory=list)
    n_misfits: int = 0
    misfits: list[str] = field(default_factory=list)

    @property
    def n_paired(self) -> int:
        return self.n_images - self.n_without - self.n_misfits

    def find(self, name: str, value: object = None) -> ReferenceImage | None:
        """Return what an image is compared with; None where nothing is there for it."""
        key = self.rule.key_of_image(name, value)
        found = self.by_key.get(key) if key is not None else None
        if found is None or key is None:
            return None
        return ReferenceImage(
            key=key,
            sha256=found.sha256,
            blob_key=found.blob_key,
            width_px=found.width_px,
            height_px=found.height_px,
        )

    def problem(self) -> str | None:
        """Return why labelled images cannot be compared, in a sentence that says what to do; None where all can."""
        if not self.by_key:
            return _NOTHING[self.rule.kind]
        if self.doubled:
            return f"Two reference images stand for the same images: {named(self.doubled)}. Keep one of them."
        if self.n_labelled_without:
            return (
                f"{self.n_labelled_without:,} of {self.n_labelled:,} labelled images have no reference image: "
                f"{named(self.without, of=self.n_labelled_without)}. Add theirs, or compare no images."
            )
        if self.misfits:
            return (
                f"{self.n_misfits:,} images have other proportions than their reference image: "
                f"{named(self.misfits, of=self.n_misfits)}. Cut them alike, or compare no images."
            )
        return None


_NOTHING = {
    "one": "Images are compared with a reference image here, but none is chosen yet. Choose one under References.",
    "name": "Images are compared with reference images here, but no image has a name like one. See References.",
    "metadata": "Images are compared with reference images here, but none is marked as one. See References.",
}


def references_of(rule: ReferenceRule, marked: Sequence[Marked]) -> Pairing:
    """Return a pairing that knows the references, and no image yet; of two with one key the first counts."""
    pairing = Pairing(rule)
    for one in marked:
        key = rule.key_of_reference(one.name, one.value)
        if key is None:
            pairing.keyless.append(one.name)
        elif key in pairing.by_key:
            pairing.doubled += [name for name in (pairing.by_key[key].name, one.name) if name not in pairing.doubled]
        else:
            pairing.by_key[key] = one
    return pairing


def pair(rule: ReferenceRule, marked: Sequence[Marked], subjects: Iterable[Subject]) -> Pairing:
    """Return what the rule makes of these references and images."""
    pairing = references_of(rule, marked)
    for one in subjects:
        pairing.n_images += one.n
        pairing.n_labelled += one.n * one.is_labelled
        found = pairing.find(one.name, one.value)
        if found is None:
            pairing.n_without += one.n
            pairing.n_labelled_without += one.n * one.is_labelled
            # Those that keep a training from starting come first.
            pairing.without.insert(0 if one.is_labelled else len(pairing.without), one.name)
        elif not is_same_shape((one.width_px, one.height_px), (found.width_px, found.height_px)):
            pairing.n_misfits += one.n
            pairing.misfits.append(one.name)
    return pairing
