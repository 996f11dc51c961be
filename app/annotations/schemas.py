"""What labelling hands around."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Label:
    """The class of one image as it is stored. `changed_at` is when it was last set or cleared, by whoever."""

    image_id: int
    category_id: int | None
    version: int
    changed_at: datetime | None
    changed_by: str | None
