"""What the deployment and history pages show, and what the REST routes speak."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.db.tables import Deployment
from app.registry.overlays import OverlayShape
from app.serving.service import MAX_NAME_LENGTH, prediction_url


class _Camel(BaseModel):
    # `modelId` is the wire's word; Pydantic keeps names that begin with `model_` for itself unless told otherwise.
    model_config = ConfigDict(populate_by_name=True, protected_namespaces=())


class DeploymentIn(_Camel):
    name: str = Field(min_length=1, max_length=MAX_NAME_LENGTH)
    model_id: UUID = Field(alias="modelId")
    threshold: float | None = Field(default=None, ge=0, le=1)


class DeploymentChange(_Camel):
    name: str | None = Field(default=None, min_length=1, max_length=MAX_NAME_LENGTH)
    model_id: UUID | None = Field(default=None, alias="modelId")
    threshold: float | None = Field(default=None, ge=0, le=1)


def deployment_out(deployment: Deployment, base_url: str) -> dict[str, Any]:
    """Return the wire's shape of a deployment, and whether it answers."""
    return {
        "id": str(deployment.id),
        "predictionUrl": prediction_url(base_url, deployment.id),
        "name": deployment.name,
        "modelId": str(deployment.model_id),
        "threshold": deployment.threshold,
        "isActive": deployment.is_active,
    }


@dataclass(frozen=True, slots=True)
class Traffic:
    """Calls of one endpoint: how many in the last 24 hours, and how long the last of them took."""

    n_day: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None


@dataclass(frozen=True, slots=True)
class DeploymentCard:
    """One endpoint on the Deploy screen."""

    id: UUID
    name: str
    is_active: bool
    threshold: float
    model_id: UUID
    model_name: str
    traffic: Traffic


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model that an endpoint may serve."""

    id: UUID
    name: str
    threshold: float
    created_at: datetime


@dataclass(frozen=True, slots=True)
class CallRow:
    """One call of the history. `judgement` is `ok`, `unsure` or `ng`; `shapes` is None where the model finds none."""

    id: int
    endpoint_name: str
    at: datetime
    has_picture: bool
    width_px: int
    height_px: int
    category_name: str
    color: str
    score: float
    ng_score: float | None
    judgement: str
    latency_ms: float
    source: str
    metadata: dict[str, Any]
    image_id: int | None
    shapes: tuple[OverlayShape, ...] | None


@dataclass(frozen=True, slots=True)
class HistoryFigures:
    """Calls over time and over the score.

    Attributes:
        buckets: (label, ok, unsure, ng) in order of time, without gaps.
        bins: The same by the shown score, in equal bins of [0, 1] named by where they begin.
        n_calls: All calls of the period.
    """

    buckets: list[tuple[str, int, int, int]]
    bins: list[tuple[str, int, int, int]]
    n_calls: int
