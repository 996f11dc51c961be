"""What labelling hands around."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic_core import PydanticCustomError

from app.contracts.dataset import AnnotationValue
from app.contracts.shapes import MAX_SHAPES


@dataclass(frozen=True, slots=True)
class Label:
    """The class of one image as it is stored. `changed_at` is when it was last set or cleared, by whoever."""

    image_id: int
    category_id: int | None
    version: int
    changed_at: datetime | None
    changed_by: str | None


@dataclass(frozen=True, slots=True)
class Shapes:
    """The shapes of one image as they are stored, in the order in which they were drawn.

    `changed_at` is when they were last set or cleared, by whoever.
    """

    image_id: int
    width_px: int
    height_px: int
    version: int
    is_labelled: bool
    annotations: tuple[AnnotationValue, ...]
    changed_at: datetime | None
    changed_by: str | None

    @property
    def nothing_to_label(self) -> bool:
        """Whether a person looked and found that there is nothing to mark."""
        return self.is_labelled and not self.annotations

    def as_json(self) -> dict[str, Any]:
        """Return what the editor reads: version, shapes, and who changed them last."""
        return {
            "version": self.version,
            "shapes": [value.model_dump(mode="json", exclude_none=True) for value in self.annotations],
            "nothing_to_label": self.nothing_to_label,
            "changed_by": self.changed_by,
            "changed_at": self.changed_at.isoformat() if self.changed_at else None,
        }


def bounded(given: Any) -> Any:
    """Count shapes before each is looked at, so that a million of them is refused at once and with words."""
    if isinstance(given, list) and len(given) > MAX_SHAPES:
        sentence = "An image carries at most {most} shapes; these are {n}."
        raise PydanticCustomError("too_many", sentence, {"most": f"{MAX_SHAPES:,}", "n": f"{len(given):,}"})
    return given
