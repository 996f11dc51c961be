"""Adaptation methods: how a backbone is made to fit the user's images."""

from dataclasses import dataclass

from app.contracts.tasks import TaskType


@dataclass(frozen=True)
class MethodCard:
    """One way of adapting a backbone. `shown_as` is the word of the train form.

    `is_painted`: it learns from strokes, and not from labels.
    """

    id: str
    name: str
    shown_as: str
    description: str
    tasks: frozenset[TaskType]
    is_painted: bool = False


METHODS: dict[str, MethodCard] = {
    card.id: card
    for card in (
        MethodCard(
            id="feature_extraction",
            name="Feature extraction",
            shown_as="Fast",
            description="The backbone stays as it is; a small head learns on its features. Seconds on a CPU, "
            "a few minutes for boxes and masks.",
            tasks=frozenset(TaskType),
        ),
        MethodCard(
            id="fine_tuning",
            name="Fine-tuning",
            shown_as="Thorough",
            description="After the head, the backbone's last stages learn too, slower the closer they are to the "
            "image. Minutes on a CPU. Of a classifier, the better on images held out is published: with or without.",
            tasks=frozenset({TaskType.CLASSIFICATION, TaskType.DETECTION, TaskType.SEGMENTATION}),
        ),
        MethodCard(
            id="visual_prompting",
            name="Visual prompting",
            shown_as="Strokes",
            description="Learns from the strokes painted under Label, Prompt, and from no label; the backbone stays as "
            "it is. Seconds on a CPU. Images with labels judge it.",
            tasks=frozenset({TaskType.SEGMENTATION}),
            is_painted=True,
        ),
    )
}
