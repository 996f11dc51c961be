"""What the images of an upload are labelled with: a class by name or folder, or shapes from a label file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from app.accounts.permissions import Action, Actor
from app.annotations import shapes as shape_service
from app.contracts.dataset import AnnotationValue
from app.contracts.shapes import SHAPE_KINDS, Mask, find_overflow
from app.contracts.tasks import Split, TaskType
from app.core.errors import Invalid
from app.datasets.formats import masks, voc
from app.datasets.formats.base import BadLabelFile, FoundShape
from app.db.tables import Category, Project
from app.images.ingest import Taken
from app.projects import service as project_service
from app.projects.palette import is_good_name


@dataclass(frozen=True, slots=True)
class Extras:
    """What is said of every image of a batch.

    Args:
        folders_as_classes: The last folder of a file names its class; says nothing where images carry shapes.
        category_name: The class of all; it is made where it is new, if the actor may edit the project.
        shapes: What a label file says of the one image of the batch; its classes are made likewise.
        nothing_to_label: A person looked at the images, and there is nothing to mark.
    """

    folders_as_classes: bool = False
    category_name: str | None = None
    shapes: tuple[FoundShape, ...] | None = None
    nothing_to_label: bool = False
    split: Split | str | None = None
    tag_names: Sequence[str] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)


def read_label_file(content: bytes, class_map: str | None, *, width_px: int, height_px: int) -> tuple[FoundShape, ...]:
    """Return the shapes of a label file: Pascal VOC if it is XML, else a mask.

    Args:
        content: The file.
        class_map: JSON from the values of a mask to the names of classes; None takes a value for a class's index.
        width_px: Of the picture that it is sent with.
        height_px: Likewise.

    Raises:
        BadLabelFile: It is neither, or not of this picture.
    """
    is_xml = content.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"<"
    if is_xml:
        found = voc.read(content, width_px=width_px, height_px=height_px)
    else:
        names = None if class_map is None else masks.parse_names(class_map)
        found = masks.read(content, width_px=width_px, height_px=height_px, names=names)
    for number, one in enumerate(found, start=1):
        overflow = find_overflow(one.shape, width_px=width_px, height_px=height_px)
        if overflow:
            raise BadLabelFile(f"Object {number} of the label (“{(one.class_name or '')[:50]}”): {overflow}")
    return found


class Labels:
    """The label that each file of a batch gets. Makes classes that are new, where the actor may.

    Raises:
        PermissionDenied: A label is asked for by somebody who may not label, or a new class by who may not edit.
        Invalid: Images of the project carry no such label.
    """

    def __init__(self, session: Session, actor: Actor, project: Project, extras: Extras) -> None:
        self._session, self._actor, self._project, self._extras = session, actor, project, extras
        self._task = TaskType(project.task)
        self._by_name: dict[str, Category] | None = None
        self._check_kind()
        if extras.category_name is not None or extras.shapes is not None or extras.nothing_to_label:
            actor.require(Action.LABEL)
        if extras.category_name is not None:
            self._require_class(extras.category_name)
        # A label file without an object says as much as `nothing_to_label`: somebody looked.
        self._says_shapes = self._task.has_shapes and (extras.shapes is not None or extras.nothing_to_label)
        to_annotations = self._judged if self._task is TaskType.ANOMALY else self._marked
        self._annotations = () if extras.shapes is None else to_annotations(extras.shapes)

    def columns(self, file: Taken, *, labelled: Mapping[str, Any]) -> dict[str, Any]:
        """Return the columns of `image` that a file's label sets; `labelled` is who and when."""
        is_labelled = self.is_labelled(file)
        return {
            "category_id": self._class_of(file),
            "shape_classes": shape_service.shape_classes(self._annotations) if self._says_shapes else None,
            "is_labelled": is_labelled,
            "version": int(is_labelled),
            **{name: value if is_labelled else None for name, value in labelled.items()},
        }

    def is_labelled(self, file: Taken) -> bool:
        return self._says_shapes or self._class_of(file) is not None

    def annotations(self, file: Taken) -> tuple[AnnotationValue, ...]:
        """Return what the file is labelled with."""
        category_id = self._class_of(file)
        if self._annotations or category_id is None:
            return self._annotations
        return (AnnotationValue(category_id=category_id),)

    def missing(self, file: Taken) -> str | None:
        """Return the name of the class that `file` should have had but that the actor may not make."""
        name = self._name(file)
        return name if name is not None and self._find(name) is None else None

    # --- details -----------------------------------------------------------------------------------------------------

    def _check_kind(self) -> None:
        has_shapes, extras = self._task.has_shapes, self._extras
        if has_shapes and extras.category_name is not None:
            raise Invalid("Images of this project are labelled with shapes, not with one class: send a label file.")
        if not has_shapes and extras.shapes is not None and self._task is not TaskType.ANOMALY:
            raise Invalid("Images of this project carry one class each: send its name as `label`, not a file.")
        if not has_shapes and extras.nothing_to_label:
            raise Invalid("Every labelled image of this project has a class: send `label` instead.")
        if extras.shapes and extras.nothing_to_label:
            raise Invalid("Either there is a label with shapes, or there is nothing to label.")

    def _class_of(self, file: Taken) -> int | None:
        if self._annotations and not self._task.has_shapes:
            return self._annotations[0].category_id
        name = self._name(file)
        if name is None or not self._actor.may(Action.LABEL):
            return None
        found = self._find(name)
        if found is None and self._actor.may(Action.EDIT):
            found = self._make(name)
        return None if found is None else found.id

    def _name(self, file: Taken) -> str | None:
        if self._extras.category_name is not None:
            return project_service.required_name(self._extras.category_name)
        return file.folder if self._extras.folders_as_classes and not self._task.has_shapes else None

    def _require_class(self, given: str) -> Category:
        """Return the class of this name, made now where it is new; never None: a mistyped label is not lost."""
        name = project_service.required_name(given)
        found = self._categories().get(name.casefold())
        if found is None and self._task is TaskType.ANOMALY:
            names = " or ".join(one.name for one in project_service.list_categories(self._session, self._project.id))
            raise Invalid(f"Images of this project are {names}; “{name[:50]}” is neither.")
        if found is None:
            self._actor.require(Action.EDIT)
            found = self._make(name)
        return found

    def _judged(self, found: Sequence[FoundShape]) -> tuple[AnnotationValue, ...]:
        """Return what a mask says of an anomaly project's image: where it is abnormal, or that nowhere."""
        marked = [one.shape for one in found if isinstance(one.shape, Mask)]
        if len(marked) < len(found):
            raise BadLabelFile("The place of an anomaly is sent as a mask.")
        category = next(one for one in self._categories().values() if one.is_good != bool(marked))
        place = masks.union(marked)
        return (AnnotationValue(category_id=category.id, mask=place),)

    def _marked(self, found: Sequence[FoundShape]) -> tuple[AnnotationValue, ...]:
        return tuple(map(self._annotation, found))

    def _annotation(self, found: FoundShape) -> AnnotationValue:
        if found.class_name is not None:
            category = self._require_class(found.class_name)
        else:
            category = self._by_index(found.class_index)
        kind = next(kind for kind, shape in SHAPE_KINDS.items() if isinstance(found.shape, shape))
        if kind not in self._task.shape_kinds:
            wanted = "boxes: send a Pascal VOC file" if self._task is TaskType.DETECTION else "masks: send a mask"
            raise BadLabelFile(f"Images of this project are labelled with {wanted}.")
        return AnnotationValue.model_validate({"category_id": category.id, kind: found.shape})

    def _by_index(self, index: int | None) -> Category:
        for category in self._categories().values():
            if category.index == index:
                return category
        raise BadLabelFile(
            f"The mask holds the value {index}, and no class of the project has this index. Send a class map with it."
        )

    def _find(self, name: str) -> Category | None:
        by_name = self._categories()
        found = by_name.get(name.casefold())
        if found is None and self._task is TaskType.ANOMALY:
            # The folders of a set are good and the names of defects; here it only counts which of the two.
            return next((one for one in by_name.values() if one.is_good == is_good_name(name)), None)
        return found

    def _categories(self) -> dict[str, Category]:
        if self._by_name is None:
            categories = project_service.list_categories(self._session, self._project.id)
            self._by_name = {category.name.casefold(): category for category in reversed(categories)}
        return self._by_name

    def _make(self, name: str) -> Category:
        made = project_service.add_category(self._session, project=self._project, name=name)
        self._categories()[made.name.casefold()] = made
        return made
