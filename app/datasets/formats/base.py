"""What a label file says, before anybody knows whether the project has its classes."""

from dataclasses import dataclass

from app.contracts.shapes import Shape
from app.core.errors import Invalid


@dataclass(frozen=True, slots=True)
class FoundShape:
    """A shape and its class: by name, or by the class's index where the file holds numbers alone."""

    shape: Shape
    class_name: str | None = None
    class_index: int | None = None


class BadLabelFile(Invalid):
    """A label file that cannot be read, or that is not of this picture; the sentence says why."""

    code, title = "bad_label_file", "The label file cannot be used"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, [{"pointer": "/label", "detail": detail, "code": self.code}])
