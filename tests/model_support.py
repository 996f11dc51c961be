"""Small real models, trained in a fraction of a second: fixed filters, pooled, and a softmax regression fitted on them.

The bundle is like every other: an ONNX graph that the engine runs from image to scores, features and heat map.
"""

import hashlib
import io
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image as Picture
from sqlalchemy import select

from app.accounts.permissions import Actor
from app.contracts.bundle import MODEL_NAME, BundleManifest, DecisionRule, ParityCheck
from app.contracts.dataset import CategoryRef
from app.contracts.predictions import ImagePrediction
from app.core.clock import utc_now
from app.core.ids import new_uuid
from app.db.session import new_session, transaction
from app.db.tables import Category, DatasetVersion, Image, Job, ModelVersion, Project
from app.inference.metrics import measure
from app.registry import service as registry_service
from app.storage import keys
from app.storage.current import blobs
from tests.manifests import make_manifest

SIZE_PX = 32
_POOL = 4
_FILTERS = np.array(
    [
        [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
        [[1, 0, -1], [2, 0, -2], [1, 0, -1]],
        [[1, 2, 1], [0, 0, 0], [-1, -2, -1]],
        [[0, 1, 0], [1, -4, 1], [0, 1, 0]],
    ],
    dtype=np.float32,
)


def scored(
    image_id: int, split: str | None, true_category_id: int | None, scores: tuple[float, ...]
) -> ImagePrediction:
    return ImagePrediction(image_id=image_id, split=split, true_category_id=true_category_id, scores=scores)


@lru_cache(maxsize=1000)
def part_picture(seed: int, defect: str | None = None, *, size_px: int = 48) -> bytes:
    """Return a PNG of a noisy grey part: with a bright line across it (`scratch`), a dark spot (`dent`), or whole."""
    rng = np.random.default_rng(seed)
    pixels = rng.normal(110, 14, (size_px, size_px))
    strength = float(rng.uniform(0.1, 1.0))
    if defect == "scratch":
        row = int(rng.integers(8, size_px - 12))
        pixels[row : row + 2, 6:-6] += 110 * strength
    elif defect == "dent":
        y, x = rng.integers(8, size_px - 16, 2)
        pixels[y : y + 8, x : x + 8] -= 100 * strength
    out = io.BytesIO()
    Picture.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert("RGB").save(out, format="PNG")
    return out.getvalue()


def add_images(project: Project, wanted: Sequence[tuple[str | None, str | None]], *, seed: int = 0) -> list[Image]:
    """Add one image for each (class name or None, split or None); what is not `good` shows its defect."""
    with transaction() as session:
        found = session.execute(select(Category.name, Category.id).where(Category.project_id == project.id))
        known: dict[str, int] = dict(found.all())
        images = []
        for number, (name, split) in enumerate(wanted):
            content = part_picture(seed + number, None if name in {None, "good"} else name)
            sha256 = hashlib.sha256(content).hexdigest()
            key = keys.original(project.id, sha256)
            blobs().put(key, content)
            images.append(
                Image(
                    project_id=project.id,
                    name=f"part-{seed + number:04}.png",
                    sha256=sha256,
                    blob_key=key,
                    format="png",
                    mode="RGB",
                    width_px=48,
                    height_px=48,
                    n_bytes=len(content),
                    split=split,
                    is_labelled=name is not None,
                    category_id=known[name] if name else None,
                    labelled_at=utc_now() if name else None,
                )
            )
        session.add_all(images)
        session.flush()
    return images


def train_model(
    project: Project,
    actor: Actor,
    folder: Path,
    *,
    name: str | None = None,
    threshold: float = 0.5,
    strength: float = 1e-3,
    tables: dict | None = None,
) -> ModelVersion:
    """Fit a model on the project's images of train, and publish it with its predictions on all of them."""
    with new_session() as session:
        images = list(session.scalars(select(Image).where(Image.project_id == project.id).order_by(Image.id)))
        rows = list(session.scalars(select(Category).where(Category.project_id == project.id).order_by(Category.index)))
    categories = tuple(CategoryRef(id=row.id, name=row.name, color=row.color, is_good=row.is_good) for row in rows)
    index = {category.id: place for place, category in enumerate(categories)}
    truth = np.array([index.get(image.category_id, -1) for image in images])
    content, scores = _learn(
        tuple(blobs().read(image.blob_key) for image in images),
        tuple(truth.tolist()),
        tuple(image.split == "train" and image.category_id is not None for image in images),
        n_classes=len(categories),
        strength=strength,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL_NAME).write_bytes(content)
    predictions = [
        scored(image.id, image.split if image.category_id else None, image.category_id, tuple(row))
        for image, row in zip(images, scores.tolist(), strict=True)
    ]
    with transaction() as session:
        job = make_job(session, project, actor, len(images))
        manifest = _manifest(categories, threshold, folder / MODEL_NAME, job.dataset_version_id)
        return registry_service.publish(
            session,
            job=job,
            name=name,
            bundle_dir=folder,
            manifest=manifest,
            metrics=_metrics(images, truth, scores, manifest),
            tables=tables or {},
            predictions=predictions,
        )


@lru_cache
def _learn(
    contents: tuple[bytes, ...],
    truth: tuple[int, ...],
    in_train: tuple[bool, ...],
    *,
    n_classes: int,
    strength: float,
) -> tuple[bytes, np.ndarray]:
    """Return a model of these pictures as an ONNX file, and its scores of them (N, K). The same again costs nothing."""
    features, members = np.stack([_features(content) for content in contents]), np.array(in_train)
    weight, bias = _fit(features[members], np.array(truth)[members], n_classes, strength)
    scores = _softmax(features @ weight + bias)
    scores.setflags(write=False)
    return _graph(weight, bias).SerializeToString(), scores


def _metrics(images: list[Image], truth: np.ndarray, scores: np.ndarray, manifest: BundleManifest) -> dict:
    splits = np.array([image.split if known >= 0 else None for image, known in zip(images, truth, strict=True)])
    found = {name: splits == name for name in ("train", "dev", "test")}
    return {
        name: measure(truth[members], scores[members], manifest).model_dump(mode="json")
        for name, members in found.items()
        if members.any()
    }


def make_job(session, project: Project, actor: Actor, n_images: int) -> SimpleNamespace:
    """Add a finished job on a dataset version of its own; return what publishing asks of it."""
    number = len(list(session.scalars(select(DatasetVersion.id).where(DatasetVersion.project_id == project.id)))) + 1
    version = DatasetVersion(
        project_id=project.id, number=number, content_hash="0" * 64, items_key="none", n_images=n_images, counts={}
    )
    session.add(version)
    session.flush()
    job = Job(
        id=new_uuid(),
        project_id=project.id,
        kind="train",
        state="succeeded",
        spec={},
        dataset_version_id=version.id,
        created_by_id=actor.user_id,
    )
    session.add(job)
    session.flush()
    return SimpleNamespace(
        id=UUID(str(job.id)), project_id=project.id, dataset_version_id=version.id, created_by_id=actor.user_id
    )


def _pixels(content: bytes) -> np.ndarray:
    """Return (3, H, W) in [-1, 1], as the bundle's preprocessing makes it."""
    picture = Picture.open(io.BytesIO(content)).convert("RGB").resize((SIZE_PX, SIZE_PX), Picture.Resampling.BILINEAR)
    return (np.asarray(picture, dtype=np.float32) / 255 - 0.5).transpose(2, 0, 1) / 0.5


def _features(content: bytes) -> np.ndarray:
    grey = _pixels(content).mean(axis=0)
    windows = np.lib.stride_tricks.sliding_window_view(grey, (3, 3))
    maps = np.abs(np.einsum("hwij,fij->fhw", windows, _FILTERS))
    side = maps.shape[1] // _POOL
    pooled = maps[:, : side * _POOL, : side * _POOL].reshape(len(_FILTERS), side, _POOL, side, _POOL).mean(axis=(2, 4))
    return np.concatenate([pooled.mean(axis=(1, 2)), pooled.max(axis=(1, 2))])


def _fit(x: np.ndarray, y: np.ndarray, n_classes: int, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Softmax regression by gradient descent on z-scored features, the scaling folded in."""
    mean, spread = x.mean(axis=0), x.std(axis=0) + 1e-6
    z, target = (x - mean) / spread, np.eye(n_classes)[y]
    weight, bias = np.zeros((x.shape[1], n_classes)), np.zeros(n_classes)
    for _ in range(400):
        error = _softmax(z @ weight + bias) - target
        weight -= 0.5 * (z.T @ error / len(z) + strength * weight)
        bias -= 0.5 * error.mean(axis=0)
    folded = weight / spread[:, None]
    return folded.astype(np.float32), (bias - mean @ folded).astype(np.float32)


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _graph(weight: np.ndarray, bias: np.ndarray) -> onnx.ModelProto:
    n_filters, n_classes = len(_FILTERS), weight.shape[1]
    constants = {
        "filters": np.repeat(_FILTERS[:, None] / 3, 3, axis=1),
        "weight": weight,
        "bias": bias,
        "evidence": weight[n_filters:].T.reshape(n_classes, n_filters, 1, 1),
    }
    nodes = [
        helper.make_node("Conv", ["image", "filters"], ["edges"]),
        helper.make_node("Abs", ["edges"], ["strengths"]),
        helper.make_node("AveragePool", ["strengths"], ["maps"], kernel_shape=[_POOL] * 2, strides=[_POOL] * 2),
        helper.make_node("GlobalAveragePool", ["maps"], ["means"]),
        helper.make_node("GlobalMaxPool", ["maps"], ["peaks"]),
        helper.make_node("Concat", ["means", "peaks"], ["both"], axis=1),
        helper.make_node("Flatten", ["both"], ["features"], axis=1),
        helper.make_node("Gemm", ["features", "weight", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
        helper.make_node("Conv", ["maps", "evidence"], ["heat"]),
    ]
    outputs = [
        helper.make_tensor_value_info("features", TensorProto.FLOAT, ["B", 2 * n_filters]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["B", n_classes]),
        helper.make_tensor_value_info("heat", TensorProto.FLOAT, ["B", n_classes, None, None]),
    ]
    graph = helper.make_graph(
        nodes,
        "filters",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["B", 3, SIZE_PX, SIZE_PX])],
        outputs,
        [numpy_helper.from_array(value.astype(np.float32), key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def _manifest(categories: tuple[CategoryRef, ...], threshold: float, path: Path, version_id: int) -> BundleManifest:
    has_good = any(category.is_good for category in categories)
    return make_manifest(
        categories=categories,
        decision=DecisionRule(
            kind="ng" if has_good else "confidence", threshold=threshold, reason="chosen by hand for this test."
        ),
        side_px=SIZE_PX,
        dataset_version_id=version_id,
        model_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        feature_dim=2 * len(_FILTERS),
        parity=ParityCheck(
            n_images=8, max_score_difference=1e-6, n_changed_decisions=0, engine="openvino 2026.4.1 CPU f32"
        ),
    )
