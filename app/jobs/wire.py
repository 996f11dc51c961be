"""The training routes' payloads, in the words of the public REST contract."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.contracts.jobs import Augmentations, JobState, TrainSpec
from app.core.errors import Invalid
from app.jobs.schemas import JobRow
from app.jobs.stages import EVALUATION, PUBLISHING, STARTING

# Stages of the line that have a word of their own in the contract; every other one is training.
_STATUS_OF_STAGE = {STARTING: "STARTING", EVALUATION: "EVALUATING", PUBLISHING: "PUBLISHING"}
_STATUS_OF_STATE = {
    JobState.QUEUED: "CREATED",
    JobState.SUCCEEDED: "SUCCEEDED",
    JobState.FAILED: "FAILED",
    JobState.CANCELLED: "FAILED",
}


class ModelChoice(BaseModel):
    """Which network to train, as the contract has it."""

    architecture: str | None = Field(default=None, max_length=60, description="A name of `/train/architectures`")
    hyper_params: dict[str, Any] = Field(default_factory=dict, alias="hyperParams")


class Transforms(BaseModel):
    preprocessing: list[dict[str, dict[str, Any]]] = Field(default_factory=list, max_length=20)
    augmentations: list[dict[str, dict[str, Any]]] = Field(default_factory=list, max_length=50)


class KizuChoices(BaseModel):
    """What Kizu lets one choose beyond the contract."""

    model_config = ConfigDict(extra="forbid")

    method: str = Field(default="feature_extraction", max_length=60)
    symmetry: str = Field(default="auto", max_length=60)
    augmentations: Augmentations | None = None
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    time_budget_s: int | None = Field(default=None, alias="timeBudgetS", ge=10, le=86_400)
    use_references: bool = Field(
        default=True, alias="useReferences", description="Compare images with reference images, where there are any"
    )


class TrainItem(BaseModel):
    """The body of a training request; every member may be left out."""

    name: str | None = Field(default=None, max_length=80)
    model: ModelChoice = Field(default_factory=ModelChoice)
    transforms: Transforms = Field(default_factory=Transforms)
    kizu: KizuChoices = Field(default_factory=KizuChoices)

    def to_spec(self) -> tuple[TrainSpec, list[str]]:
        """Return the training that is meant, and a sentence for each wish that it has no use for.

        Raises:
            Invalid: A size is not a whole number from 64 to 1024.
        """
        notes: list[str] = []
        size_px, resize = None, "auto"
        for transform in self.transforms.preprocessing:
            for name, values in transform.items():
                if name in _RESIZES:
                    size_px, resize = _size(values), _RESIZES[name]
                else:
                    notes.append(f"The preprocessing “{name}” is not known and was left out.")
        if self.model.hyper_params:
            named = ", ".join(sorted(self.model.hyper_params))
            notes.append(f"Kizu finds out how long to learn by itself: {named} was not needed.")
        if self.transforms.augmentations:
            notes.append(
                "`transforms.augmentations` was left out: `kizu.symmetry` and `kizu.augmentations` say the same."
            )
        spec = TrainSpec(
            name=(self.name or "").strip() or None,
            backbone=self.model.architecture or "auto",
            image_size_px=size_px,
            resize=resize,
            method=self.kizu.method,
            symmetry=self.kizu.symmetry,
            augmentations=self.kizu.augmentations,
            seed=self.kizu.seed,
            time_budget_s=self.kizu.time_budget_s,
            use_references=self.kizu.use_references,
        )
        return spec, notes


_RESIZES = {"rescaleWithPadding": "letterbox", "resize": "stretch", "resizeWithPadding": "letterbox"}


def _size(values: dict[str, Any]) -> int:
    """Return the longer side; the network's input is square."""
    sides = [values.get("height"), values.get("width")]
    given = [side for side in sides if isinstance(side, int) and not isinstance(side, bool)]
    if len(given) != 2 or not all(64 <= side <= 1024 for side in given):
        detail = "Give height and width as whole numbers from 64 to 1024."
        raise Invalid(detail, [{"pointer": "/transforms/preprocessing", "detail": detail, "code": "size"}])
    return max(given)


def status_of(job: JobRow) -> str:
    """Return the contract's word for where a job stands."""
    return _STATUS_OF_STATE.get(JobState(job.state)) or _STATUS_OF_STAGE.get(job.stage, "TRAINING")


def training_out(job: JobRow) -> dict[str, Any]:
    return {
        "id": str(job.id),
        "status": status_of(job),
        "state": job.state,
        "name": job.title,
        "createdAt": job.created_at.isoformat(),
        "endedAt": job.ended_at.isoformat() if job.ended_at else None,
        "modelId": str(job.model_id) if job.model_id else None,
    }


def training_status_out(job: JobRow) -> dict[str, Any]:
    return training_out(job) | {"stage": job.stage, "message": job.message, "progress": job.fraction}
