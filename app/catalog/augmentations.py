"""Changes of pictures while a head learns: what a person may choose, and what each task takes by itself."""

from dataclasses import dataclass

from app.contracts.jobs import Augmentations
from app.contracts.tasks import TaskType


@dataclass(frozen=True)
class AugmentationCard:
    """One amount of `Augmentations`, as the train form asks for it.

    `scale` is how many of the form's units are one of the contract's: 100 for a share that is asked for in per cent.
    """

    field: str
    name: str
    unit: str
    scale: float
    step: float
    hint: str

    @property
    def most(self) -> float:
        """The largest amount, in the form's units."""
        limits = [getattr(one, "le", None) for one in Augmentations.model_fields[self.field].metadata]
        return self.scale * next(limit for limit in limits if limit is not None)

    def shown(self, amounts: Augmentations) -> float:
        """Return the amount in the form's units."""
        return round(self.scale * float(getattr(amounts, self.field)), 3)


AUGMENTATIONS: tuple[AugmentationCard, ...] = (
    AugmentationCard("rotation_deg", "Rotation", "degrees", 1, 1, "For parts that do not lie quite straight."),
    AugmentationCard("zoom", "Zoom", "%", 100, 5, "For a distance that varies, and defects of many sizes."),
    AugmentationCard("shift", "Shift", "%", 100, 1, "Random crop: for parts that do not lie in the middle."),
    AugmentationCard("brightness", "Brightness", "%", 100, 1, "For light that varies."),
    AugmentationCard("contrast", "Contrast", "%", 100, 5, "For light that varies."),
    AugmentationCard("blur_px", "Blur", "px", 1, 0.1, "For focus and motion that vary."),
    AugmentationCard("noise", "Noise", "grey levels", 1, 1, "For cameras with grain."),
)

DEFAULT_AUGMENTATIONS: dict[TaskType, Augmentations] = {
    # Classes are told by fine differences more often than boxes are: pictures are changed less.
    TaskType.CLASSIFICATION: Augmentations(zoom=0.1, shift=0.05, brightness=0.08, contrast=0.15, noise=2),
    TaskType.DETECTION: Augmentations(),  # a turned box is drawn too large
    TaskType.SEGMENTATION: Augmentations(rotation_deg=12),
}
"""Of the tasks in which something learns by gradient; the others look at each picture as it is."""


def are_changed(task: TaskType, method: str) -> bool:
    """Return whether pictures are changed while something learns by gradient, or looked at as they are."""
    return task in DEFAULT_AUGMENTATIONS and (task is not TaskType.CLASSIFICATION or method == "fine_tuning")
