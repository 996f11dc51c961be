"""Manifests of bundles that no training made."""

from app.contracts.bundle import BundleManifest, DecisionRule, Lineage, Preprocessing
from app.contracts.dataset import CategoryRef
from app.contracts.tasks import TaskType


def make_manifest(
    *,
    task: TaskType = TaskType.CLASSIFICATION,
    categories: tuple[CategoryRef, ...],
    decision: DecisionRule | None = None,
    head: str = "linear",
    side_px: int = 32,
    dataset_version_id: int | None = None,
    model_sha256: str = "0" * 64,
    feature_dim: int = 1,
    **members: object,
) -> BundleManifest:
    """Return a manifest of the toy backbone with a threshold of 0.5; `members` are further ones of it."""
    return BundleManifest(
        task=task,
        name="Model 1",
        categories=categories,
        preprocessing=Preprocessing(
            width_px=side_px, height_px=side_px, resize="stretch", resample="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3
        ),
        decision=decision or DecisionRule(kind="confidence", threshold=0.5, reason="In the middle."),
        temperature=1.0,
        feature_dim=feature_dim,
        model_sha256=model_sha256,
        lineage=Lineage(
            dataset_version_id=dataset_version_id,
            dataset_hash="0" * 64,
            backbone="toy",
            backbone_sha256="0" * 64,
            method="feature_extraction",
            head=head,
            symmetry="identity",
            seed=0,
            code_version="0.1.0",
            libraries={"numpy": "2.0.0"},
            created_at="2026-01-01T00:00:00+00:00",
        ),
        **members,
    )
