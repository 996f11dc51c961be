"""What the images of a project can be filtered for: its classes, tags, metadata fields, and the model that is asked."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Boolean, Float, Integer, Select, String, Text, case, cast, func, literal, null, select, union_all
from sqlalchemy.orm import Session

from app.contracts.tasks import TaskType
from app.core.errors import NotFound
from app.db.tables import Annotation, Category, Image, MetadataField, ModelVersion, Project, Tag

_WITH_SHAPES = [task for task in TaskType if task.has_shapes]


# Of probabilities. Scores of anomalies are s / (s + t) of a distance s and its threshold t, and lie near one half: .02
# is a distance within 8 % of the threshold.
_UNSURE_BAND = 0.1
_ANOMALY_BAND = 0.02


@dataclass(frozen=True, slots=True)
class ClassRef:
    id: int
    name: str
    color: str
    is_good: bool
    description: str
    n_images: int = 0  # only where it was asked for


@dataclass(frozen=True, slots=True)
class TagRef:
    id: int
    name: str
    color: str


@dataclass(frozen=True, slots=True)
class FieldRef:
    """A metadata field; `type` is `text`, `number` or `boolean`."""

    id: int
    name: str
    type: str


@dataclass(frozen=True, slots=True)
class ModelRef:
    """The model whose predictions are shown. `rule` is the kind of `app.contracts.bundle.DecisionRule`.

    NG scores within `unsure_band` of the threshold are called unsure, on either side.
    """

    id: UUID
    name: str
    rule: str
    threshold: float
    has_heat: bool
    unsure_band: float


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Everything that names in the grid and its filters stand for, in the order in which people see it."""

    classes: tuple[ClassRef, ...]
    tags: tuple[TagRef, ...]
    fields: tuple[FieldRef, ...]
    model: ModelRef | None
    n_images: int
    has_shapes: bool

    def find_class(self, category_id: int | None) -> ClassRef | None:
        return next((one for one in self.classes if one.id == category_id), None)

    def find_tag(self, tag_id: int) -> TagRef | None:
        return next((one for one in self.tags if one.id == tag_id), None)

    def find_field(self, field_id: int) -> FieldRef | None:
        return next((one for one in self.fields if one.id == field_id), None)


def load(session: Session, project_id: int, *, model_id: UUID | None = None, with_counts: bool = False) -> Vocabulary:
    """Return the vocabulary of a project in one statement. The caller has checked that the project may be seen.

    Args:
        session: The request's session.
        project_id: The project.
        model_id: Whose predictions are meant; None means the newest model.
        with_counts: Count the images of each class as well; an index answers.

    Raises:
        NotFound: The project has no model of this id.
    """
    # One statement instead of four: each page needs all of them, and each is a handful of rows.
    parts = [
        _classes(project_id, with_counts),
        _tags(project_id),
        _fields(project_id),
        _model(project_id, model_id),
        _total(project_id),
    ]
    rows = session.execute(union_all(*parts)).all()
    of_kind = {
        kind: sorted((row for row in rows if row.kind == kind), key=lambda row: (row.place, row.name))
        for kind in ("class", "tag", "field", "model", "total")
    }
    if model_id is not None and not of_kind["model"]:
        raise NotFound("This project has no such model.")
    tasks = [TaskType(row.hint) for row in of_kind["total"]]
    band = _ANOMALY_BAND if TaskType.ANOMALY in tasks else _UNSURE_BAND
    return Vocabulary(
        classes=tuple(
            ClassRef(int(r.key), r.name, r.hint, bool(r.flag), r.note, int(r.number or 0)) for r in of_kind["class"]
        ),
        tags=tuple(TagRef(int(r.key), r.name, r.hint) for r in of_kind["tag"]),
        fields=tuple(FieldRef(int(r.key), r.name, r.hint) for r in of_kind["field"]),
        n_images=sum(int(r.number) for r in of_kind["total"]),
        has_shapes=any(task.has_shapes for task in tasks),
        model=next(
            (ModelRef(UUID(r.key), r.name, r.hint, r.number, bool(r.note), band) for r in of_kind["model"]), None
        ),
    )


def _live_images(project_id: int) -> Select:
    return select(func.count()).where(Image.project_id == project_id, Image.deleted_at.is_(None))


def _classes(project_id: int, with_counts: bool) -> Select:
    by_class = _live_images(project_id).where(Image.category_id == Category.id).correlate(Category).scalar_subquery()
    by_shapes = (
        select(func.count(func.distinct(Annotation.image_id)))
        .join(Image, Image.id == Annotation.image_id)
        .where(Annotation.category_id == Category.id, Image.deleted_at.is_(None))
        .correlate(Category)
        .scalar_subquery()
    )
    task = select(Project.task).where(Project.id == project_id).scalar_subquery()
    count = case((task.in_(_WITH_SHAPES), by_shapes), else_=by_class)
    return select(
        literal("class").label("kind"),
        Category.index.label("place"),
        Category.name.label("name"),
        cast(Category.id, String).label("key"),
        Category.color.label("hint"),
        Category.is_good.label("flag"),
        cast(count if with_counts else null(), Float).label("number"),
        Category.description.label("note"),
    ).where(Category.project_id == project_id)


def _total(project_id: int) -> Select:
    return select(
        literal("total"),
        literal(0, Integer),
        cast(literal(""), String),
        cast(literal(""), String),
        Project.task,
        literal(value=False),
        cast(_live_images(project_id).scalar_subquery(), Float),
        cast(literal(""), Text),
    ).where(Project.id == project_id)


def _tags(project_id: int) -> Select:
    return select(
        literal("tag"),
        literal(0, Integer),
        Tag.name,
        cast(Tag.id, String),
        Tag.color,
        literal(value=False),
        cast(null(), Float),
        cast(literal(""), Text),
    ).where(Tag.project_id == project_id)


def _fields(project_id: int) -> Select:
    return select(
        literal("field"),
        MetadataField.id,
        MetadataField.name,
        cast(MetadataField.id, String),
        MetadataField.type,
        literal(value=False),
        cast(null(), Float),
        cast(literal(""), Text),
    ).where(MetadataField.project_id == project_id)


def _model(project_id: int, model_id: UUID | None) -> Select:
    chosen = select(ModelVersion).where(ModelVersion.project_id == project_id)
    if model_id is not None:
        chosen = chosen.where(ModelVersion.id == model_id)
    newest = chosen.order_by(ModelVersion.created_at.desc(), ModelVersion.id.desc()).limit(1).subquery()
    return select(
        literal("model"),
        literal(0, Integer),
        newest.c.name,
        cast(newest.c.id, String),
        newest.c.manifest[("decision", "kind")].as_string(),
        cast(literal(value=False), Boolean),
        cast(newest.c.threshold, Float),
        newest.c.manifest["heat_name"].as_string(),
    )
