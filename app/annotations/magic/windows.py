"""Which parts of an image are looked at, and how finely."""

from collections.abc import Iterator
from dataclasses import dataclass

from app.annotations.magic.prompts import Prompt
from app.contracts.shapes import Box

SIDE_PX = 384
"""Longer side at which a window is looked at; a smaller one is not enlarged."""

_SHRINK = 2.0  # from one window to the next: things of 3 % to 100 % of the view
_N_WINDOWS = 3
_LEAST_PX = 96
_AIR = 1.6  # a window is so many times larger than the gesture in it


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of whole image pixels."""

    left: int
    top: int
    width: int
    height: int

    @property
    def scale(self) -> float:
        """Pixels that are looked at for each pixel of the image, along a side: 1 or less."""
        return min(1.0, SIDE_PX / max(self.width, self.height))


def whole(width_px: int, height_px: int) -> Window:
    return Window(0, 0, width_px, height_px)


def windows_for(prompt: Prompt, *, view: Box | None, width_px: int, height_px: int) -> tuple[Window, ...]:
    """Return the windows around a gesture, the widest first: from all that is seen down to its neighbourhood."""
    left, top, right, bottom = prompt.bounds
    centre = (left + right) / 2, (top + bottom) / 2
    widest = max(width_px, height_px) if view is None else max(view.xmax - view.xmin, view.ymax - view.ymin)
    least = max(_LEAST_PX, _AIR * max(right - left, bottom - top))
    sides = (max(widest / _SHRINK**step, least) for step in range(_N_WINDOWS))
    return tuple(dict.fromkeys(_placed(centre, sides, width_px, height_px)))


def _placed(centre: tuple[float, float], sides: Iterator[float], width_px: int, height_px: int) -> Iterator[Window]:
    for side in sides:
        width, height = min(round(side), width_px), min(round(side), height_px)
        left = min(max(round(centre[0] - width / 2), 0), width_px - width)
        top = min(max(round(centre[1] - height / 2), 0), height_px - height)
        yield Window(left, top, width, height)
