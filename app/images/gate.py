"""How many pictures are decoded at once: as many as there are cores, and of the very large ones a single one."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from app.core.pictures import PictureInfo

LARGE_PIXELS = 25_000_000
N_DECODERS = max(2, os.cpu_count() or 2)

_decoders = threading.BoundedSemaphore(N_DECODERS)
_large_picture = threading.Lock()  # 200 megapixels are 600 MB once decoded


@contextmanager
def room_for(info: PictureInfo) -> Iterator[None]:
    """Wait until there is room in memory and on the cores for decoding this picture."""
    is_large = info.width_px * info.height_px > LARGE_PIXELS
    with _large_picture if is_large else nullcontext(), _decoders:
        yield
