"""What every training leaves, whatever its task."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from app.contracts.bundle import BundleManifest
from app.contracts.predictions import ImagePrediction


@dataclass(frozen=True)
class TrainedModel:
    """A proven bundle on disk, and all that is said of it.

    `tables` are for people, keyed by what they show (`backbones`, `symmetries`, `regularisation`); `metrics` are of the
    default threshold, by split. `predictions` hold a row for every image that could be read, labelled or not.
    """

    bundle_dir: Path
    manifest: BundleManifest
    metrics: Mapping[str, BaseModel]
    tables: dict[str, Any]
    predictions: tuple[ImagePrediction, ...]
    unreadable: dict[int, str] = field(default_factory=dict)
