"""REST: automatic splits and dataset snapshots."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from app.accounts.permissions import Action, Actor
from app.contracts.dataset import DatasetItem
from app.contracts.tasks import Split
from app.datasets import service as dataset_service
from app.db.tables import DatasetVersion
from app.web.deps import SessionDep, api_actor
from app.web.openapi import PROBLEMS

router = APIRouter(prefix="/v1/projects/{project_id}", tags=["datasets"], responses=PROBLEMS)


class _Wire(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class SplitPercentages(_Wire):
    """Shares of each class, which sum to 100."""

    train: int = Field(default=70, ge=0, le=100)
    dev: int = Field(default=15, ge=0, le=100)
    test: int = Field(default=15, ge=0, le=100)


class AutoSplit(_Wire):
    split_percentages: SplitPercentages = Field(default_factory=SplitPercentages)
    select_option: Literal["all-labeled", "without-split"] = "without-split"
    seed: int = Field(default=0, ge=0, lt=2**31, description="Another seed gives another draw")


class SplitCounts(_Wire):
    """How many images each split was given now."""

    train: int
    dev: int
    test: int


class Snapshot(_Wire):
    """A frozen dataset: what some model was trained on."""

    name: str
    version: int
    creation_time: datetime
    images: int
    content_hash: str = Field(description="SHA-256 of classes, images, labels and splits")

    @classmethod
    def of(cls, version: DatasetVersion) -> "Snapshot":
        return cls(
            name=dataset_service.title(version),
            version=version.number,
            creation_time=version.created_at,
            images=version.n_images,
            content_hash=version.content_hash,
        )


class SnapshotItem(_Wire):
    image_id: int
    sha256: str
    split: str
    class_id: int | None = Field(description="The class of an image that carries one; null with shapes")
    class_ids: list[int] = Field(description="The classes that it holds; empty where there is nothing to label")
    shapes: int = Field(description="How many boxes, polygons and masks it carries")

    @classmethod
    def of(cls, item: DatasetItem, *, has_shapes: bool) -> "SnapshotItem":
        return cls(
            image_id=item.image_id,
            sha256=item.sha256,
            split=str(item.split),
            class_id=None if has_shapes else item.category_id,
            class_ids=sorted({annotation.category_id for annotation in item.annotations}),
            shapes=len(item.annotations) if has_shapes else 0,
        )


class SnapshotDetails(Snapshot):
    classes: list[dict[str, Any]]
    counts: dict[str, dict[str, int]] = Field(description="Images by split and class id")
    items: list[SnapshotItem]


class SplitAnswer(BaseModel):
    data: SplitCounts


class SnapshotAnswer(BaseModel):
    data: Snapshot


class SnapshotList(BaseModel):
    data: list[Snapshot]


class SnapshotDetailsAnswer(BaseModel):
    data: SnapshotDetails


@router.post("/autosplit", name="api.datasets.autosplit")
def autosplit(
    actor: Annotated[Actor, Depends(api_actor(Action.EDIT))], session: SessionDep, project_id: int, body: AutoSplit
) -> SplitAnswer:
    """Spread the labelled images over train, dev and test, in each class alike.

    `without-split` leaves every image where it is that has a split already; `all-labeled` draws anew.
    """
    counts = dataset_service.auto_split(
        session,
        actor=actor,
        project_id=project_id,
        percentages={split: getattr(body.split_percentages, split.value) for split in Split},
        select_option=body.select_option,
        seed=body.seed,
    )
    return SplitAnswer(data=SplitCounts(**{split.value: count for split, count in counts.items()}))


@router.get("/dataset/snapshots", name="api.datasets.list")
def list_snapshots(
    actor: Annotated[Actor, Depends(api_actor(Action.VIEW))], session: SessionDep, project_id: int
) -> SnapshotList:
    """List the frozen datasets, the newest first."""
    versions = dataset_service.list_versions(session, actor=actor, project_id=project_id)
    return SnapshotList(data=[Snapshot.of(version) for version in versions])


@router.post("/dataset/snapshots", name="api.datasets.freeze", status_code=201)
def freeze(
    actor: Annotated[Actor, Depends(api_actor(Action.TRAIN))], session: SessionDep, project_id: int
) -> SnapshotAnswer:
    """Freeze the labelled images as they are. Where nothing changed, the snapshot that exists is returned."""
    project = dataset_service.get_project(session, actor=actor, project_id=project_id)
    version = dataset_service.freeze(session, project=project, created_by_id=actor.user_id)
    return SnapshotAnswer(data=Snapshot.of(version))


@router.get("/dataset/snapshots/{version}/metadata", name="api.datasets.metadata")
def snapshot_metadata(
    actor: Annotated[Actor, Depends(api_actor(Action.VIEW))], session: SessionDep, project_id: int, version: int
) -> SnapshotDetailsAnswer:
    """Return what a snapshot holds: classes, counts, and each image's split and classes."""
    found = dataset_service.get_version(session, actor=actor, project_id=project_id, number=version)
    dataset = dataset_service.load_items(found)
    items = [SnapshotItem.of(item, has_shapes=dataset.task.has_shapes) for item in dataset.items]
    return SnapshotDetailsAnswer(
        data=SnapshotDetails(
            **Snapshot.of(found).model_dump(),
            classes=[category.model_dump(exclude={"is_good"}) for category in dataset.categories],
            counts=found.counts,
            items=items,
        )
    )
