"""Task heads: what turns features into answers."""

from dataclasses import dataclass

from app.contracts.tasks import TaskType


@dataclass(frozen=True)
class HeadCard:
    """One head, the task it answers and the methods that can fit it."""

    id: str
    name: str
    description: str
    task: TaskType
    methods: frozenset[str]


HEADS: dict[str, HeadCard] = {
    card.id: card
    for card in (
        HeadCard(
            id="linear",
            name="Linear classifier",
            description="Regularised logistic regression on the pooled features of all stages; its strength is chosen "
            "by cross-validation. A kernel part is added where that lowers the error on held-out images.",
            task=TaskType.CLASSIFICATION,
            methods=frozenset({"feature_extraction", "fine_tuning"}),
        ),
        HeadCard(
            id="patch_memory",
            name="Patch memory",
            description="Remembers how good parts look, place by place; what is far from all of it is abnormal. Learns "
            "from good images alone.",
            task=TaskType.ANOMALY,
            methods=frozenset({"feature_extraction"}),
        ),
        HeadCard(
            id="detector",
            name="Detector without anchors",
            description="A pyramid of feature maps; each of its points says which defect it lies in and how far it is "
            "to the four sides. Large pictures are read in overlapping windows.",
            task=TaskType.DETECTION,
            methods=frozenset({"feature_extraction", "fine_tuning"}),
        ),
        HeadCard(
            id="decoder",
            name="Light decoder",
            description="Sums what the backbone's stages see at the finest of them, and says of every place which "
            "defect it shows; connected places are one region. Large pictures are read in overlapping windows.",
            task=TaskType.SEGMENTATION,
            methods=frozenset({"feature_extraction", "fine_tuning"}),
        ),
        HeadCard(
            id="prototypes",
            name="Prototypes of places",
            description="Remembers how the places look that strokes cover; each place of an image belongs to the "
            "nearest of them.",
            task=TaskType.SEGMENTATION,
            methods=frozenset({"visual_prompting"}),
        ),
    )
}
