"""Small synthetic inspections: grey texture, and on defective parts a bright scratch at a known place."""

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.contracts.dataset import AnnotationValue, CategoryRef, Dataset, DatasetItem
from app.contracts.jobs import JobEventPayload, TrainSpec
from app.contracts.tasks import Split, TaskType
from worker.ml.training.classification import train_classification
from worker.ml.training.result import TrainedModel

SIDE_PX = 64
GOOD, BAD = 11, 22


@dataclass
class Parts:
    """A dataset with the bytes of its images and, for defective ones, the box (left, top, right, bottom) in pixels."""

    dataset: Dataset
    content: dict[str, bytes]
    boxes: dict[int, tuple[int, int, int, int]]

    def open_image(self, item: DatasetItem) -> bytes:
        return self.content[item.blob_key]


def draw_part(generator: np.random.Generator, *, is_defective: bool) -> tuple[bytes, tuple[int, int, int, int]]:
    pixels = generator.normal(90, 12, (SIDE_PX, SIDE_PX))
    left, top = (int(value) for value in generator.integers(4, SIDE_PX - 20, 2))
    box = (left, top, left + 14, top + 14)
    if is_defective:
        pixels[top : top + 14, left : left + 14] += generator.normal(90, 30, (14, 14))
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue(), box


def make_parts(*, n_train: int = 60, n_dev: int = 0, n_test: int = 24, n_unlabelled: int = 4, seed: int = 0) -> Parts:
    generator = np.random.default_rng(seed)
    content: dict[str, bytes] = {}
    boxes: dict[int, tuple[int, int, int, int]] = {}
    items: list[DatasetItem] = []
    plan = [Split.TRAIN] * n_train + [Split.DEV] * n_dev + [Split.TEST] * n_test + [None] * n_unlabelled
    for index, split in enumerate(plan):
        is_defective = index % 3 == 0
        data, box = draw_part(generator, is_defective=is_defective)
        key = f"image-{index}"
        content[key] = data
        if is_defective:
            boxes[index] = box
        label = () if split is None else (AnnotationValue(category_id=BAD if is_defective else GOOD),)
        items.append(
            DatasetItem(
                image_id=index,
                sha256=hashlib.sha256(data).hexdigest(),
                blob_key=key,
                width_px=SIDE_PX,
                height_px=SIDE_PX,
                split=split,
                annotations=label,
            )
        )
    dataset = Dataset(
        task=TaskType.CLASSIFICATION,
        categories=(
            CategoryRef(id=GOOD, name="good", color="#22aa66", is_good=True),
            CategoryRef(id=BAD, name="scratch", color="#cc3344"),
        ),
        items=tuple(item for item in items if item.split is not None),
        unlabelled=tuple(item for item in items if item.split is None),
    )
    return Parts(dataset, content, boxes)


Train = Callable[..., TrainedModel]


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the session: the toy backbone is exported once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def parts() -> Parts:
    return make_parts()


@pytest.fixture
def train(cache_dir: Path, tmp_path: Path, parts: Parts) -> Train:
    """Train on the toy backbone; every argument can be overridden."""

    def run(
        given: Parts = parts,
        *,
        spec: TrainSpec | None = None,
        on_event: Callable[[JobEventPayload], None] = lambda _event: None,
        work_dir: Path | None = None,
        cache: Path = cache_dir,
        precision: str = "f32",
    ) -> TrainedModel:
        return train_classification(
            spec or TrainSpec(backbone="toy", symmetry="identity"),
            given.dataset,
            open_image=given.open_image,
            cache_dir=cache,
            work_dir=work_dir or tmp_path / "work",
            on_event=on_event,
            precision=precision,
        )

    return run


@pytest.fixture(scope="session")
def trained(cache_dir: Path, tmp_path_factory: pytest.TempPathFactory, parts: Parts) -> TrainedModel:
    """One model on the toy backbone with two views, for tests that only look at it."""
    return train_classification(
        TrainSpec(backbone="toy", symmetry="rot90", name="Scratches"),
        parts.dataset,
        open_image=parts.open_image,
        cache_dir=cache_dir,
        work_dir=tmp_path_factory.mktemp("work"),
        on_event=lambda _event: None,
        precision="f32",
    )
