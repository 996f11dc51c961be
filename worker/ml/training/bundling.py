"""Small parts of every bundle: its manifest on disk, and where it comes from."""

import importlib.metadata
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from app.catalog import BACKBONES
from app.contracts.bundle import MANIFEST_NAME, BundleManifest, Lineage
from app.contracts.dataset import Dataset
from app.contracts.jobs import TrainSpec


@dataclass(frozen=True)
class Origin:
    """Who asked for a training, on what, with which code."""

    dataset_version_id: int | None = None
    code_version: str = ""
    created_by: str | None = None


NOT_KEPT = Origin()
"""Of a training outside of a project: a test's, a benchmark's."""


def lineage_of(
    origin: Origin,
    spec: TrainSpec,
    dataset: Dataset,
    *,
    backbone: str,
    head: str,
    libraries: Sequence[str],
    symmetry: str | None = None,
) -> Lineage:
    """Return where a bundle comes from; `libraries` are packages whose versions matter.

    `symmetry` is the one that was chosen; without it the one of the spec stands.
    """
    return Lineage(
        dataset_version_id=origin.dataset_version_id,
        dataset_hash=dataset.content_hash(),
        backbone=backbone,
        backbone_sha256=BACKBONES[backbone].weights_sha256,
        method=spec.method,
        head=head,
        symmetry=symmetry or ("identity" if spec.symmetry == "auto" else spec.symmetry),
        seed=spec.seed,
        code_version=origin.code_version,
        libraries={name: importlib.metadata.version(name) for name in libraries},
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        created_by=origin.created_by,
    )


def write_manifest(directory: Path, manifest: BundleManifest) -> None:
    """Write the manifest of a bundle; a kill in between leaves the old file or the new one."""
    partial = directory / f"{MANIFEST_NAME}.partial"
    partial.write_text(json.dumps(manifest.model_dump(mode="json"), indent=2))
    partial.replace(directory / MANIFEST_NAME)
