"""The preview of what a training does to pictures: one picture of the project, changed as the form says."""

import io

import numpy as np
from PIL import Image as Picture

from app.contracts.jobs import Augmentations
from app.core.pictures import decode, to_array
from app.db.tables import Image
from app.images.thumbnails import open_thumbnail
from app.inference.augmentation import PictureChanges

MEDIA_TYPE = "image/png"
COLUMNS, ROWS = 4, 2
TILE_PX, GAP_PX = 160, 8
WIDTH_PX = COLUMNS * TILE_PX + (COLUMNS - 1) * GAP_PX
HEIGHT_PX = ROWS * TILE_PX + (ROWS - 1) * GAP_PX


def sheet(image: Image, amounts: Augmentations, symmetry: str) -> bytes:
    """Return a sheet of the picture as eight steps of a training might show it; a PNG, clear between the tiles.

    The same choices give the same sheet.

    Raises:
        BlobMissing: The original is no longer in the store.
        BrokenPicture: The original can no longer be decoded.
    """
    with open_thumbnail(image) as file:
        small = decode(file.read())
    pixels = to_array(small.resize((TILE_PX, TILE_PX), Picture.Resampling.BILINEAR))
    changes = PictureChanges.of(amounts, symmetry)
    canvas = Picture.new("RGBA", (WIDTH_PX, HEIGHT_PX), (0, 0, 0, 0))
    for index in range(COLUMNS * ROWS):
        tile = Picture.fromarray(changes.change(pixels, np.random.default_rng(index)))
        row, column = divmod(index, COLUMNS)
        canvas.paste(tile, (column * (TILE_PX + GAP_PX), row * (TILE_PX + GAP_PX)))
    file = io.BytesIO()
    canvas.save(file, "PNG", compress_level=1)
    return file.getvalue()
