"""Reference images (golden templates): pictures of good parts, and which other picture is compared with which.

A key joins the two: a picture and a reference that have the same key belong together.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
MetadataValue = str | float | bool | None

ONLY_KEY = ""
"""The key of every picture where one reference stands for all."""

_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


class ReferenceRule(BaseModel):
    """Which reference belongs to which picture.

    `one`: the same for all. `name`: that of the same name, but for the two endings, as `part7_test.png` and
    `part7_temp.png`. `metadata`: that with the same value in a metadata field.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["one", "name", "metadata"]
    image_ending: str = Field(default="", max_length=100, description="`name`: how the names of pictures end")
    reference_ending: str = Field(default="", max_length=100, description="`name`: how those of references end")
    field_id: int | None = Field(default=None, description="`metadata`: the field whose value the two share")
    field: str = Field(default="", description="`metadata`: the name of that field when a dataset was frozen")

    def is_reference_name(self, name: str) -> bool:
        """Tell whether a file's name says that it is a reference; only the rule `name` knows."""
        return self.kind == "name" and bool(self.reference_ending) and _key(name, self.reference_ending) is not None

    def key_of_reference(self, name: str, value: object = None) -> str | None:
        """Return the key of a reference from its name and its value in the field; None where it has none."""
        return self._key(name, self.reference_ending, value)

    def key_of_image(self, name: str, value: object = None) -> str | None:
        """Return the key of the reference that a picture needs; None where nothing says it."""
        return self._key(name, self.image_ending, value)

    def _key(self, name: str, ending: str, value: object) -> str | None:
        if self.kind == "one":
            return ONLY_KEY
        return _key(name, ending) if self.kind == "name" else value_key(value)


def _key(name: str, ending: str) -> str | None:
    """Return what is left of a name without folder, extension and ending; None where it has another ending."""
    stem = name.replace("\\", "/").rsplit("/", 1)[-1].strip()
    extension = next((one for one in _ENDINGS if stem.lower().endswith(one)), "")
    stem = stem.removesuffix(stem[len(stem) - len(extension) :]) if extension else stem
    if not stem.casefold().endswith(ending.casefold()) or len(stem) == len(ending):
        return None
    return stem[: len(stem) - len(ending)].casefold()


def value_key(value: object) -> str | None:
    """Return the key that a metadata value stands for; None for an empty one, and for several."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:g}"
    return (value.strip().casefold() or None) if isinstance(value, str) else None


class ReferenceImage(BaseModel):
    """The reference of one image of a dataset: what to compare it with."""

    model_config = ConfigDict(frozen=True)

    key: str
    sha256: Sha256 = Field(description="Of the original bytes")
    blob_key: str
    width_px: int
    height_px: int


class BundledReferences(BaseModel):
    """Part of a manifest: this model reads a picture together with its reference.

    `pictures` names those in the bundle by their key, with the SHA-256 of each one's file; where a rule has more than a
    bundle should carry, it is empty, and every call brings its own.
    """

    model_config = ConfigDict(frozen=True)

    rule: ReferenceRule
    pictures: dict[str, Sha256] = {}


def reference_file(sha256: str) -> str:
    """Return the name, within a bundle, of the file of a reference."""
    return f"reference-{sha256}.png"
