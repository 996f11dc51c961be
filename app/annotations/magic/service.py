"""Magic click for an image of a project: who may, which pixels, and what is kept between two clicks.

Scenes are kept by the contents of the image for a few minutes, within a bound of memory, in each process; another
process looks anew. Calls block: run them in a thread. At most `_N_AT_ONCE` work at a time, the others wait for a while.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image as Picture

from app.accounts.permissions import Action, Actor
from app.annotations.magic.maps import Extractor, find_ready_backbone
from app.annotations.magic.prompts import Prompt, check_inside
from app.annotations.magic.proposal import propose
from app.annotations.magic.scene import Scene
from app.contracts.shapes import Box
from app.contracts.tasks import TaskType
from app.core import pictures
from app.core.errors import Invalid, Unavailable
from app.db.session import new_session
from app.db.tables import Image, Project
from app.images import service as image_service
from app.images import thumbnails
from app.inference.rasters import TooRagged, encode_mask
from app.settings import get_settings
from app.storage.current import blobs

MOST_BYTES = 200_000_000
MOST_PIXELS = 16_000_000
"""Larger images are looked at smaller; the outline is as coarse as a pixel of what is looked at."""

_KEEP_S = 300.0
_N_AT_ONCE = 2
_WAIT_S = 10.0

_turns = threading.BoundedSemaphore(_N_AT_ONCE)


@dataclass(frozen=True)
class Held:
    """A scene and how many of its pixels there are for each of the image, along a side."""

    scene: Scene
    scale: float
    has_features: bool


class Scenes:
    """The scenes of the last images, the least used ones forgotten first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: OrderedDict[str, tuple[float, Held]] = OrderedDict()
        self._timer: threading.Timer | None = None

    def find(self, key: str) -> Held | None:
        with self._lock:
            if key not in self._held:
                return None
            held = self._held.pop(key)[1]
            self._held[key] = time.monotonic(), held
            return held

    def keep(self, key: str, held: Held) -> None:
        with self._lock:
            self._held[key] = time.monotonic(), held
            while len(self._held) > 1 and sum(one.scene.n_bytes for _, one in self._held.values()) > MOST_BYTES:
                self._held.popitem(last=False)
            self._forget_later()

    def forget(self, *, older_than_s: float = 0.0) -> None:
        """Drop what was not used for so long."""
        with self._lock:
            oldest = time.monotonic() - older_than_s
            self._held = OrderedDict((key, one) for key, one in self._held.items() if one[0] > oldest)
            self._timer = None
            if self._held:
                self._forget_later()

    def _forget_later(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(_KEEP_S, self.forget, kwargs={"older_than_s": _KEEP_S})
            self._timer.daemon = True
            self._timer.start()


scenes = Scenes()


def warm(*, actor: Actor, project_id: int, image_id: int) -> bool:
    """Look at an image before the first click; return whether a backbone helps.

    Raises as `propose_mask` does.
    """
    image, _ = _find_image(actor, project_id, image_id)
    with _turn():
        held = _hold(image)
        held.scene.warm()
    return held.has_features


def propose_mask(
    *, actor: Actor, project_id: int, image_id: int, prompts: Sequence[Prompt], view: Box | None
) -> dict[str, Any]:
    """Return what gestures on an image mean: `mask` and `box`, None where nothing was found, and `has_features`.

    Nothing is stored.

    Raises:
        NotFound: No such project, or no such image in it.
        PermissionDenied: The actor may not label.
        Invalid: A gesture leaves the image, or the project's images carry no shapes.
        Unavailable: Too many ask at once.
    """
    image, project = _find_image(actor, project_id, image_id)
    check_inside(prompts, width_px=image.width_px, height_px=image.height_px)
    with _turn():
        held = _hold(image)
        with held.scene.lock:
            scaled = [_scaled(prompt, held.scale) for prompt in prompts]
            marked = propose(held.scene, scaled, view=view and _scaled_box(view, held.scale))
        if held.scale < 1:
            marked = _enlarged(marked, image.width_px, image.height_px)
    if not marked.any():
        return {"mask": None, "box": None, "has_features": held.has_features}
    try:
        mask = encode_mask(marked)
    except TooRagged as error:
        raise Invalid("What was found is too ragged to be a label. Try a stroke or a box.") from error
    box = mask.bounds.model_dump()
    is_masked = project.task == TaskType.SEGMENTATION
    return {"mask": mask.model_dump() if is_masked else None, "box": box, "has_features": held.has_features}


# --- details ---------------------------------------------------------------------------------------------------------


def _find_image(actor: Actor, project_id: int, image_id: int) -> tuple[Image, Project]:
    # The session is closed before anything is computed.
    with new_session() as session:
        image = image_service.get_image(
            session, actor=actor, project_id=project_id, image_id=image_id, action=Action.LABEL
        )
        project = session.get_one(Project, project_id)
    if not TaskType(project.task).has_shapes:
        raise Invalid("Images of this project carry one class each, and no shapes.")
    return image, project


@contextmanager
def _turn() -> Iterator[None]:
    if not _turns.acquire(timeout=_WAIT_S):
        raise Unavailable("Several people use magic click at this moment. Try again in a few seconds.", retry_after_s=3)
    try:
        yield
    finally:
        _turns.release()


def _hold(image: Image) -> Held:
    extractor = _extractor()
    key = f"{image.sha256}-{extractor.has_features}"
    held = scenes.find(key)
    if held is None:
        picture = thumbnails.shown(blobs().local_path(image.blob_key))
        scale = min(1.0, (MOST_PIXELS / (picture.width * picture.height)) ** 0.5)
        if scale < 1:
            picture = picture.resize((round(picture.width * scale), round(picture.height * scale)), reducing_gap=2.0)
        held = Held(Scene(pictures.to_array(picture), extractor), scale, extractor.has_features)
        scenes.keep(key, held)
    return held


def _extractor() -> Extractor:
    """Return the extractor of the backbone that is ready, or of none: one may be ready a minute later."""
    found = find_ready_backbone(get_settings().cache_dir)
    return _opened(*found) if found else Extractor(None)


@lru_cache(maxsize=1)
def _opened(*backbone: Any) -> Extractor:
    return Extractor(backbone)


def _scaled(prompt: Prompt, scale: float) -> Prompt:
    if scale == 1:
        return prompt
    if prompt.box is not None:
        return prompt.model_copy(update={"box": _scaled_box(prompt.box, scale)})
    return prompt.model_copy(update={"points": tuple((x * scale, y * scale) for x, y in prompt.points)})


def _scaled_box(box: Box, scale: float) -> Box:
    return Box(xmin=box.xmin * scale, ymin=box.ymin * scale, xmax=box.xmax * scale, ymax=box.ymax * scale)


def _enlarged(marked: np.ndarray, width_px: int, height_px: int) -> np.ndarray:
    soft = Picture.fromarray(marked.astype(np.uint8) * 255).resize((width_px, height_px), Picture.Resampling.BILINEAR)
    return np.asarray(soft) > 127
