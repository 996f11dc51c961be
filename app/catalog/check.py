"""Validation of what a person chose against what the catalog has."""

from app.catalog.augmentations import DEFAULT_AUGMENTATIONS, are_changed
from app.catalog.backbones import BACKBONES
from app.catalog.heads import HEADS, HeadCard
from app.catalog.methods import METHODS
from app.catalog.symmetries import SYMMETRIES
from app.contracts.jobs import TrainSpec
from app.contracts.tasks import TaskType
from app.core.errors import Invalid

AUTO = "auto"


class UnknownChoice(Invalid):
    """A name that the catalog does not have."""

    code, title = "unknown_choice", "Unknown choice"


class IncompatibleChoice(Invalid):
    """Names that exist but do not go together, or not with this task."""

    code, title = "incompatible_choice", "These choices do not go together"


class NotTrainable(Invalid):
    """The choices are fine but the images are not enough: too few classes or too few images that can be read."""

    code, title = "not_trainable", "Not enough to train on"


def check(spec: TrainSpec, task: TaskType) -> None:
    """Make sure that a training as chosen can be run.

    Raises:
        UnknownChoice: A backbone, method, head or symmetry that the catalog lacks.
        IncompatibleChoice: They exist, but not for this task or not together.
    """
    if spec.backbone != AUTO:
        _known("backbone", spec.backbone, BACKBONES)
    _known("method", spec.method, METHODS)
    if spec.head != AUTO:
        _known("head", spec.head, HEADS)
    if spec.symmetry != AUTO:
        _known("symmetry", spec.symmetry, SYMMETRIES)
    method = METHODS[spec.method]
    if spec.backbone != AUTO and task not in BACKBONES[spec.backbone].tasks:
        raise _incompatible("backbone", f"{BACKBONES[spec.backbone].name} does not serve {task.value}.")
    if task not in method.tasks:
        raise _incompatible("method", f"{method.name} does not serve {task.value} yet.")
    if spec.augmentations is not None and not are_changed(task, spec.method):
        says = f"A head for {task.value} is solved exactly: pictures are not changed."
        cure = " Choose fine-tuning, or leave the changes empty." if task in DEFAULT_AUGMENTATIONS else ""
        raise _incompatible("augmentations", says + cure)
    head = head_of(spec, task)
    if task is not head.task:
        raise _incompatible("head", f"{head.name} answers {head.task.value}, not {task.value}.")
    if method.id not in head.methods:
        raise _incompatible("method", f"{head.name} cannot be fitted by {method.name.lower()}.")


def head_of(spec: TrainSpec, task: TaskType) -> HeadCard:
    """Return the head that a training fits: the chosen one, or the first that answers the task by the method.

    Raises:
        IncompatibleChoice: None answers this task.
    """
    if spec.head != AUTO:
        return HEADS[spec.head]
    of_task = [head for head in HEADS.values() if head.task is task]
    found = next((head for head in of_task if spec.method in head.methods), next(iter(of_task), None))
    if found is None:
        raise _incompatible("head", f"No head answers {task.value} yet.")
    return found


def _known(field: str, choice: str, catalog: dict[str, object] | dict) -> None:
    if choice not in catalog:
        names = ", ".join(sorted(catalog))
        detail = f"There is no {field} called “{choice}”. There are: {names}."
        raise UnknownChoice(detail, errors=[{"pointer": f"/{field}", "detail": detail, "code": "unknown_choice"}])


def _incompatible(field: str, detail: str) -> IncompatibleChoice:
    return IncompatibleChoice(
        detail, errors=[{"pointer": f"/{field}", "detail": detail, "code": "incompatible_choice"}]
    )
