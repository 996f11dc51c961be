"""One image as magic click sees it: its pixels, and the windows that have been looked at, kept for the next click."""

import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from app.annotations.magic.candidates import View, edges_of
from app.annotations.magic.maps import Extractor
from app.annotations.magic.scoring import Described, describe
from app.annotations.magic.windows import Window, whole

_MOST_WINDOWS = 9  # three gestures' worth: 2.4 MB of channels each
_MOST_MASKS = 16


@dataclass(frozen=True)
class Looked:
    """A window: what of it is looked at, and how its places are described. H and W are its sides after scaling."""

    window: Window
    view: View
    places: Described

    @property
    def shape(self) -> tuple[int, int]:
        height, width = self.view.edges.shape
        return height, width


class Scene:
    """An image that somebody labels. Safe to use from several threads; they take turns."""

    def __init__(self, pixels: np.ndarray, extractor: Extractor) -> None:
        self.pixels = pixels
        self.lock = threading.Lock()
        self._extractor = extractor
        self._windows: OrderedDict[Window, Looked] = OrderedDict()
        self._masks: OrderedDict[object, np.ndarray] = OrderedDict()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]

    @property
    def n_bytes(self) -> int:
        """Memory that it may come to hold."""
        return self.pixels.nbytes + _MOST_WINDOWS * 4_000_000 + _MOST_MASKS * self.pixels.size // 24

    def warm(self) -> None:
        """Describe the whole image, which the first click will want."""
        with self.lock:
            self.look(whole(*self.size))

    def look(self, window: Window) -> Looked:
        """Return a window, described now or before. Call it with the lock held."""
        known = self._windows.get(window)
        if known is None:
            known = self._windows[window] = self._looked(window)
            while len(self._windows) > _MOST_WINDOWS:
                self._windows.popitem(last=False)
        self._windows.move_to_end(window)
        return known

    def _looked(self, window: Window) -> Looked:
        import cv2

        cut = self.pixels[window.top : window.top + window.height, window.left : window.left + window.width]
        shown = cut
        if window.scale < 1:
            size = max(round(window.width * window.scale), 1), max(round(window.height * window.scale), 1)
            shown = cv2.resize(cut, size, interpolation=cv2.INTER_AREA)
        width, height = self.size
        is_open = (
            window.left > 0,
            window.top > 0,
            window.left + window.width < width,
            window.top + window.height < height,
        )
        return Looked(window, View(edges_of(shown), is_open), describe(self._extractor.channels(shown)))

    def remembered(self, key: object) -> np.ndarray | None:
        """Return the mask (H, W) bool that was kept for some gestures, or None."""
        packed = self._masks.get(key)
        if packed is None:
            return None
        return np.unpackbits(packed, axis=1, count=self.size[0]).astype(bool)

    def remember(self, key: object, marked: np.ndarray) -> None:
        self._masks[key] = np.packbits(marked, axis=1)
        while len(self._masks) > _MOST_MASKS:
            self._masks.popitem(last=False)
