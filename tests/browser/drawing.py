"""A Kizu with a detection and a segmentation project, and a hand that draws in them."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from playwright.sync_api import Page
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from app.contracts.bundle import CategoryRef
from app.contracts.predictions import PredictedShape
from app.contracts.tasks import TaskType
from app.db.tables import ModelVersion, Prediction
from tests.browser.support import Rest, RunningKizu, running_kizu, settle, solar_cells
from tests.manifests import make_manifest

SIZE = (640, 480)
LARGE = (4000, 3000)
CLASSES = ("scratch", "dent", "stain")
Spot = tuple[int, int, int, int]
"""Left, top, right and lower edge, px."""


@dataclass(frozen=True)
class Drawing:
    """An installation with images to draw on, and the ids of their classes by name.

    All are pictures of `SIZE`, but for the large ones and the cells, which are real solar cells.
    """

    kizu: RunningKizu
    rest: Rest
    boxes_id: int
    masks_id: int
    box_images: tuple[int, ...]
    mask_images: tuple[int, ...]
    box_cell_id: int
    mask_cell_id: int
    large_id: int
    large_mask_id: int
    box_classes: dict[str, int]
    mask_classes: dict[str, int]

    @property
    def url(self) -> str:
        return self.kizu.url


@contextmanager
def drawing(home: Path) -> Iterator[Drawing]:
    """Start a Kizu and put the two projects into it."""
    with running_kizu(home) as kizu:
        key = kizu.command("key", "create", "--name", "Browser tests").splitlines()[-1]
        with Rest(base_url=kizu.url, headers={"apikey": key}, timeout=60) as rest:
            boxes_id, box_classes = _project(rest, "Housings", TaskType.DETECTION)
            masks_id, mask_classes = _project(rest, "Tiles", TaskType.SEGMENTATION)
            yield Drawing(
                kizu=kizu,
                rest=rest,
                boxes_id=boxes_id,
                masks_id=masks_id,
                box_images=tuple(_upload(rest, boxes_id, number, SIZE) for number in range(10)),
                mask_images=tuple(_upload(rest, masks_id, number, SIZE) for number in range(10)),
                box_cell_id=_upload_cell(rest, boxes_id),
                mask_cell_id=_upload_cell(rest, masks_id),
                large_id=_upload(rest, boxes_id, 99, LARGE),
                large_mask_id=_upload(rest, masks_id, 99, LARGE),
                box_classes=box_classes,
                mask_classes=mask_classes,
            )


def _project(rest: Rest, name: str, task: TaskType) -> tuple[int, dict[str, int]]:
    project_id = rest.ask("POST", "/v1/projects", json={"name": name, "projectType": task.value})["id"]
    rest.ask("POST", f"/v1/projects/{project_id}/classes", json={str(i): {"name": c} for i, c in enumerate(CLASSES)})
    found = rest.ask("GET", f"/v1/projects/{project_id}/classes")
    return project_id, {one["name"]: one["id"] for one in found}


def _upload(rest: Rest, project_id: int, seed: int, size: tuple[int, int]) -> int:
    """Upload a picture of brushed metal; return its id."""
    width, height = size
    grain = np.random.default_rng(seed).normal(0, 9, (height, 1)) + np.random.default_rng(seed + 1).normal(
        0, 5, (height, width)
    )
    shade = np.linspace(90, 150, width)[None, :]
    picture = Image.fromarray(np.clip(shade + grain, 0, 255).astype(np.uint8))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=80)
    return _sent(rest, project_id, f"part {seed:02d}.jpg", out.getvalue())


def _upload_cell(rest: Rest, project_id: int) -> int:
    (cell,) = solar_cells(1.0, 1, skip=2)
    return _sent(rest, project_id, cell.name, cell.read_bytes())


def upload_spotted(rest: Rest, project_id: int, dark: Sequence[Spot] = (), bright: Sequence[Spot] = ()) -> int:
    """Upload a rough grey picture with dark and bright spots; return its id."""
    pixels = np.random.default_rng(project_id).normal(150, 6, SIZE[::-1])
    for spots, step in ((dark, -60), (bright, 60)):
        for left, top, right, bottom in spots:
            pixels[top:bottom, left:right] += step
    out = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(out, "PNG")
    return _sent(rest, project_id, f"spots {dark} {bright}.png", out.getvalue())


def _sent(rest: Rest, project_id: int, name: str, picture: bytes) -> int:
    return rest.ask("POST", f"/v1/projects/{project_id}/images", files={"file": (name, picture)})["id"]


def leave_prediction(
    drawing: Drawing, project_id: int, image_id: int, classes: dict[str, int], shapes: list[PredictedShape]
) -> None:
    """Put a model and what it found on an image where a training leaves them; its threshold is 0.5."""
    manifest = make_manifest(
        task=TaskType.DETECTION,
        categories=tuple(CategoryRef(id=one, name=name, color="#0072b2") for name, one in classes.items()),
        head="detector",
        side_px=64,
    )
    engine = create_engine(f"sqlite:///{drawing.kizu.home / 'kizu.sqlite3'}")
    with Session(engine) as session, session.begin():
        model = ModelVersion(
            project_id=project_id,
            name=f"Model of image {image_id}",
            bundle_key=f"projects/{project_id}/models/none",
            n_bytes=1,
            manifest=manifest.model_dump(mode="json"),
            metrics={},
            threshold=0.5,
        )
        session.add(model)
        session.flush()
        prediction = Prediction(
            model_id=model.id,
            image_id=image_id,
            predicted_category_id=next(iter(classes.values())),
            score=0.9,
            scores=[0.1, 0.9],
            shapes=[shape.model_dump(mode="json") for shape in shapes],
        )
        session.add(prediction)
    engine.dispose()


class Hand:
    """A mouse and a keyboard at one image, in image pixels."""

    def __init__(self, page: Page, url: str, project_id: int) -> None:
        self.page = page
        self.keyboard = page.keyboard
        self._url = f"{url}/projects/{project_id}"

    def open(self, image_id: int) -> None:
        self.page.goto(f"{self._url}/label?sort=oldest&image={image_id}")
        settle(self.page)
        self.ready()

    def ready(self) -> None:
        """Wait until the labels of the image are there."""
        self.page.wait_for_function("() => document.querySelector('#annotator')?.editor?.isLoaded")

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return where an image pixel is in the window."""
        found = self.page.evaluate(
            """([x, y]) => {
              const { view, box } = document.querySelector('#annotator').stage;
              const corner = box.getBoundingClientRect();
              return [corner.x + view.x + x * view.scale, corner.y + view.y + y * view.scale];
            }""",
            [x, y],
        )
        return found[0], found[1]

    def under(self, x: float, y: float) -> tuple[float, float]:
        """Return which point of the image is at a place in the window."""
        (left, top), (right, bottom) = self.at(0, 0), self.at(1, 1)
        return (x - left) / (right - left), (y - top) / (bottom - top)

    def move(self, x: float, y: float) -> None:
        self.page.mouse.move(*self.at(x, y))

    def click(self, x: float, y: float, **options: Any) -> None:
        self.page.mouse.click(*self.at(x, y), **options)

    def drag(self, *points: tuple[float, float], steps: int = 5, button: Literal["left", "right"] = "left") -> None:
        """Press at the first point, let go at the last."""
        self.move(*points[0])
        self.page.mouse.down(button=button)
        for point in points[1:]:
            self.page.mouse.move(*self.at(*point), steps=steps)
        self.page.mouse.up(button=button)

    def saved(self) -> dict[str, Any]:
        """Return what the server has, once all is saved."""
        return self.page.evaluate(
            """async () => {
              const annotator = document.querySelector('#annotator');
              await annotator.editor.saver.done();
              return (await fetch(annotator.getAttribute('shapes-href'))).json();
            }"""
        )

    def shapes(self) -> list[dict[str, Any]]:
        return self.saved()["shapes"]

    def box(self) -> list[float]:
        """Return the edges of the only box."""
        (shape,) = self.shapes()
        return [shape["box"][side] for side in ("xmin", "ymin", "xmax", "ymax")]

    def colour(self, x: float, y: float) -> list[int]:
        """Return red, green, blue and opacity of what is drawn over an image pixel."""
        return self.colours([(x, y)])[0]

    def colours(self, points: Sequence[tuple[float, float]]) -> list[list[int]]:
        """Return the same of many, at one moment."""
        return self.page.evaluate(
            """async points => {
              await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
              const { view } = document.querySelector('#annotator').stage;
              const layers = [...document.querySelectorAll('.annotator__layer')];
              const probe = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
              return points.map(([x, y]) => {
                const place = [x * view.scale + view.x, y * view.scale + view.y];
                const at = place.map(value => Math.floor(value * devicePixelRatio));
                const found = layers.map(layer => {
                  probe.clearRect(0, 0, 1, 1);
                  probe.drawImage(layer, ...at, 1, 1, 0, 0, 1, 1);
                  return [...probe.getImageData(0, 0, 1, 1).data];
                });
                return found.reduce((most, one) => (one[3] > most[3] ? one : most), [0, 0, 0, 0]);
              });
            }""",
            points,
        )


def pixels(mask: dict[str, Any]) -> np.ndarray:
    """Return a saved mask as an array of the image's size, by a reading of the run lengths that is not the editor's."""
    runs = mask["counts"].replace("Z", "Z ").replace("N", "N ").split()
    flat = np.concatenate([np.full(int(run[:-1]), run[-1] == "N") for run in runs])
    whole = np.zeros(SIZE[::-1], bool)
    rows, columns = mask["height"], mask["width"]
    whole[mask["ymin"] : mask["ymin"] + rows, mask["xmin"] : mask["xmin"] + columns] = flat.reshape(rows, columns)
    return whole


def overlap(found: np.ndarray, *spots: Spot) -> float:
    """Return the intersection over union of a mask with spots."""
    true = np.zeros_like(found)
    for left, top, right, bottom in spots:
        true[top:bottom, left:right] = True
    return (found & true).sum() / (found | true).sum()
