"""Label files: what Pascal VOC and 8-bit masks say, and with which words the broken ones are refused."""

import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image as Picture

from app.contracts.shapes import Box
from app.datasets.formats import masks, voc
from app.datasets.formats.base import BadLabelFile, FoundShape


def voc_xml(*objects: str, size: tuple[int, int] | None = (200, 100)) -> bytes:
    stated = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>1</depth></size>" if size else ""
    return f"<annotation><filename>a.jpg</filename>{stated}{''.join(objects)}</annotation>".encode()


def voc_object(name: str, xmin: object, ymin: object, xmax: object, ymax: object) -> str:
    corners = f"<xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax>"
    return f"<object><name>{name}</name><bndbox>{corners}</bndbox></object>"


def read_voc(content: bytes) -> tuple[FoundShape, ...]:
    return voc.read(content, width_px=200, height_px=100)


def test_pixels_counted_from_one_become_edges() -> None:
    """(1, 1, 200, 100) is the whole picture of 200 x 100."""
    found = read_voc(voc_xml(voc_object("dent", 1, 1, 200, 100), voc_object("hole", 11, 21, 11, 22)))
    assert found == (
        FoundShape(Box(xmin=0, ymin=0, xmax=200, ymax=100), class_name="dent"),
        FoundShape(Box(xmin=10, ymin=20, xmax=11, ymax=22), class_name="hole"),
    )


def test_tools_that_count_from_zero_lose_nothing_at_the_border() -> None:
    assert read_voc(voc_xml(voc_object("dent", 0, 0, 50, 60)))[0].shape == Box(xmin=0, ymin=0, xmax=50, ymax=60)


def test_a_file_without_objects_says_that_there_is_nothing() -> None:
    assert read_voc(voc_xml()) == ()
    assert read_voc(voc_xml(size=None)) == ()
    assert read_voc(b"\xef\xbb\xbf" + voc_xml(size=(0, 0))) == ()


BOMB = b'<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]><annotation>&b;</annotation>'
STEAL = (
    b'<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation><object><name>&a;</name></object></annotation>'
)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<annotation>", "not a readable XML"),
        (b"<annotation>\xff\xfe</annotation>", "not a readable XML"),
        (b'<?xml version="1.0" encoding="no-such"?><annotation/>', "not a readable XML"),
        (b"<labels/>", "first element is not <annotation>"),
        (BOMB, "declares entities"),
        (STEAL, "declares entities"),
        (voc_xml(size=(640, 480)), "640 x 480 pixels; this one has 200 x 100"),
        (voc_xml("<object><name>dent</name></object>"), "Object 1"),
        (voc_xml(voc_object("", 1, 1, 5, 5)), "Object 1"),
        (voc_xml(voc_object("a", 1, 1, 5, 5), voc_object("b", "nan", 1, 5, 5)), "Object 2 of the label (“b”)"),
        (voc_xml(voc_object("a", -3, 1, 5, 5)), "xmin -3"),
        (voc_xml(voc_object("a", 9, 1, 5, 5)), "is no box"),
        (voc_xml(voc_object("a", 1, 1, "1e400", 5)), "is no box"),
        (voc_xml(voc_object("a", 1, 1, "", 5)), "xmax missing"),
        (voc_xml(*[voc_object("a", 1, 1, 5, 5)] * 2001), "at most 2,000 boxes; the file has 2,001"),
        (b"<annotation>" + b" " * voc.MAX_BYTES + b"</annotation>", "at most 8 MB"),
    ],
)
def test_broken_voc_files_are_refused_with_words(content: bytes, words: str) -> None:
    with pytest.raises(BadLabelFile) as caught:
        read_voc(content)
    assert words in caught.value.detail
    assert caught.value.errors[0]["pointer"] == "/label"


@given(st.binary(max_size=300))
def test_any_bytes_are_voc_or_refused(content: bytes) -> None:
    for given_bytes in (content, b"<annotation>" + content + b"</annotation>"):
        try:
            read_voc(given_bytes)
        except BadLabelFile:
            continue


# --- masks -----------------------------------------------------------------------------------------------------------


def png(values: np.ndarray, mode: str | None = None, file_format: str = "PNG") -> bytes:
    out = io.BytesIO()
    picture = Picture.fromarray(values)
    if mode == "P":
        picture = picture.convert("P")
        picture.putpalette([255, 0, 0] * 256)
        picture.putdata(values.ravel().tolist())
    elif mode:
        picture = picture.convert(mode)
    picture.save(out, file_format)
    return out.getvalue()


def read_mask(content: bytes, size: tuple[int, int] = (6, 4), names: dict[int, str] | None = None):
    return masks.read(content, width_px=size[0], height_px=size[1], names=names)


VALUES = np.array([[0, 0, 0, 0, 0, 0], [0, 1, 1, 0, 7, 0], [0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 7]], dtype=np.uint8)


@pytest.mark.parametrize(("mode", "file_format"), [(None, "PNG"), ("P", "PNG"), (None, "BMP"), (None, "TIFF")])
def test_a_mask_gives_one_shape_for_each_value(mode: str | None, file_format: str) -> None:
    crack, hole = read_mask(png(VALUES, mode, file_format), names={1: "crack", 7: "hole"})
    assert (crack.class_name, hole.class_name) == ("crack", "hole")
    assert crack.shape.model_dump() == {"xmin": 1, "ymin": 1, "width": 2, "height": 2, "counts": "3N1Z"}
    assert hole.shape.model_dump() == {"xmin": 4, "ymin": 1, "width": 2, "height": 3, "counts": "1N4Z1N"}
    assert [one.class_index for one in read_mask(png(VALUES, mode, file_format))] == [1, 7]


def test_background_alone_says_that_there_is_nothing() -> None:
    assert read_mask(png(np.zeros_like(VALUES))) == ()


@settings(max_examples=50)
@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20)), elements=st.sampled_from([0, 0, 3])))
def test_a_mask_read_is_the_mask_drawn(values: np.ndarray) -> None:
    height, width = values.shape
    drawn = np.zeros_like(values)
    for found in read_mask(png(values), (width, height)):
        mask = found.shape
        flat = np.repeat(*zip(*[(inside, n) for inside, n in mask.runs()], strict=True))
        part = flat.reshape(mask.height, mask.width) * found.class_index
        drawn[mask.ymin : mask.ymin + mask.height, mask.xmin : mask.xmin + mask.width] = part
    assert (drawn == values).all()


def test_noise_is_refused() -> None:
    checkerboard = (np.indices((1200, 1200)).sum(axis=0) % 2).astype(bool)
    with pytest.raises(BadLabelFile, match="noise"):
        masks.encode(checkerboard)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a readable"),
        (b"GIF89a", "not a readable"),
        (png(VALUES)[:45], "not a readable"),
        (png(VALUES, None, "JPEG"), "not a readable"),
        (png(VALUES, "RGB"), "one channel of 8 bits"),
        (png(VALUES, "I;16"), "one channel of 8 bits"),
        (png(VALUES[:2]), "The mask has 6 x 2 pixels, the picture 6 x 4"),
        (png(VALUES), "does not name: 7"),
    ],
)
def test_broken_masks_are_refused_with_words(content: bytes, words: str) -> None:
    with pytest.raises(BadLabelFile) as caught:
        read_mask(content, names={1: "crack"})
    assert words in caught.value.detail


def test_a_class_map_names_values() -> None:
    assert masks.parse_names('{"0": "ok", "1": " crack ", "254": "hole"}') == {1: "crack", 254: "hole"}


@pytest.mark.parametrize(
    "text", ["", "[]", "nothing", '{"a": "b"}', '{"256": "b"}', '{"-1": "b"}', '{"1": 3}', '{"1": " "}', "[" * 9999]
)
def test_other_class_maps_are_refused(text: str) -> None:
    with pytest.raises(BadLabelFile):
        masks.parse_names(text)


@given(st.text(max_size=40), st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=3))
def test_any_text_is_a_class_map_or_refused(text: str, names: dict[str, str]) -> None:
    for given_text in (text, json.dumps(names)):
        try:
            found = masks.parse_names(given_text)
        except BadLabelFile:
            continue
        assert all(0 < value < 256 and name for value, name in found.items())
