import contextlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from app.contracts.bundle import Preprocessing
from app.core.errors import AppError
from app.core.pictures import BrokenPicture, NotAPicture, PictureTooLarge, decode, probe, sniff, to_array
from app.inference import to_pixels
from app.inference.preprocess import letterbox_box

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF")


def encoded(image, picture_format, **options):
    buffer = io.BytesIO()
    image.save(buffer, picture_format, **options)
    return buffer.getvalue()


def colours():
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8))


@pytest.mark.parametrize("picture_format", FORMATS)
def test_reads_every_format(picture_format):
    data = encoded(colours(), picture_format)
    info = probe(data)
    assert (info.format, info.width_px, info.height_px) == (picture_format.lower(), 30, 20)
    assert decode(data).size == (30, 20)
    assert to_array(decode(data)).shape == (20, 30, 3)


@pytest.mark.parametrize("picture_format", ["PNG", "TIFF"])
def test_16_bit_grey_keeps_its_exposure(picture_format):
    values = np.linspace(0, 65535, 600).reshape(20, 30).astype(np.uint16)
    data = encoded(Image.fromarray(values), picture_format)
    assert probe(data).bits == 16
    np.testing.assert_allclose(np.asarray(decode(data)), values / 257, atol=0.51)


def test_a_dark_16_bit_picture_stays_dark():
    data = encoded(Image.fromarray(np.full((4, 4), 600, np.uint16)), "PNG")
    assert np.asarray(decode(data)).max() == 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turns_as_exif_says(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    corner = Image.new("L", (40, 24), 0)
    corner.paste(255, (0, 0, 12, 8))
    data = encoded(corner, "PNG", exif=exif)
    info, image = probe(data), decode(data)
    assert (info.width_px, info.height_px) == image.size
    assert info.is_turned == (orientation >= 5)
    pixels = np.asarray(image)
    corners = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}
    assert pixels[corners[orientation]] == 255


@pytest.mark.parametrize(("mode", "picture_format"), [("CMYK", "TIFF"), ("CMYK", "JPEG"), ("P", "PNG"), ("1", "PNG")])
def test_reads_other_colour_models(mode, picture_format):
    assert decode(encoded(colours().convert(mode), picture_format)).mode in {"L", "RGB"}


def test_transparent_pixels_lie_over_white():
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert to_array(decode(encoded(image, "PNG"))).min() == 255


@pytest.mark.parametrize(
    "data", [b"", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"<html></html>", b"GIF89a....", b"%PDF"]
)
def test_refuses_what_is_no_picture(data):
    for read in (probe, decode):
        with pytest.raises(NotAPicture):
            read(data)


@pytest.mark.parametrize("picture_format", FORMATS)
def test_says_when_a_picture_is_cut_off(picture_format):
    data = encoded(colours().resize((300, 200)), picture_format)
    with pytest.raises(BrokenPicture):
        decode(data[: len(data) // 3])


def test_refuses_a_bomb_before_decoding_it():
    data = encoded(Image.new("1", (60_000, 6_000)), "PNG")
    for read in (probe, decode):
        with pytest.raises(PictureTooLarge):
            read(data)
    with pytest.raises(PictureTooLarge):
        decode(encoded(colours(), "PNG"), max_pixels=100)


@given(st.binary(max_size=400), st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\x00", b"MM\x00*"]))
def test_random_bytes_only_ever_raise_our_errors(tail, head):
    for read in (probe, decode):
        with contextlib.suppress(AppError):
            read(head + tail)


@given(st.binary(max_size=32))
def test_sniffing_never_raises(data):
    assert sniff(data) in {None, "jpeg", "png", "bmp", "webp", "tiff"}


def preprocessing(resize):
    return Preprocessing(
        width_px=32, height_px=32, resize=resize, resample="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3, pad_value=7
    )


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from(["stretch", "letterbox"]))
def test_pixels_always_have_the_networks_size(width, height, resize):
    assert to_pixels(np.zeros((height, width), np.uint8), preprocessing(resize)).shape == (32, 32, 3)


def test_a_letterbox_keeps_the_shape_and_pads():
    pixels = to_pixels(np.full((10, 40, 3), 200, np.uint8), preprocessing("letterbox"))
    assert letterbox_box(40, 10, preprocessing("letterbox")) == (0, 12, 32, 8)
    assert (pixels[:12] == 7).all()
    assert (pixels[12:20] == 200).all()
    assert (pixels[20:] == 7).all()


def test_a_large_jpeg_is_decoded_small_and_looks_the_same():
    gradient = np.linspace(0, 255, 1600 * 1200).reshape(1200, 1600).astype(np.uint8)
    data = encoded(Image.fromarray(gradient), "JPEG", quality=95)
    small = to_pixels(data, preprocessing("stretch")).astype(int)
    full = to_pixels(np.asarray(decode(data)), preprocessing("stretch")).astype(int)
    assert abs(small - full).max() <= 3
