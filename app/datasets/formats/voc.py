"""Pascal VOC: one XML file an image, with boxes.

Source: Everingham et al., The PASCAL Visual Object Classes (VOC) Challenge, IJCV 2010, and its development kit.
Coordinates there are numbers of pixels, counted from 1, the last one included; as edges that is (xmin - 1, ymin - 1,
xmax, ymax). Some tools count from 0: of a box at the border their 0 stays 0.
"""

from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from pydantic import ValidationError

from app.contracts.shapes import MAX_SHAPES, Box
from app.datasets.formats.base import BadLabelFile, FoundShape

MAX_BYTES = 8_000_000
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read(content: bytes, *, width_px: int, height_px: int) -> tuple[FoundShape, ...]:
    """Return the boxes of a VOC file; none where it holds no object.

    Args:
        content: The file. Entities and a document type are refused.
        width_px: Of the picture that it is sent with; another size in the file is refused.
        height_px: Likewise.

    Raises:
        BadLabelFile: It is no such file, or not of this picture.
    """
    root = _parsed(content)
    _check_size(root, width_px, height_px)
    objects = root.findall("object")
    if len(objects) > MAX_SHAPES:
        raise BadLabelFile(f"An image carries at most {MAX_SHAPES:,} boxes; the file has {len(objects):,}.")
    return tuple(_box(one, number) for number, one in enumerate(objects, start=1))


def _parsed(content: bytes) -> Element:
    if len(content) > MAX_BYTES:
        raise BadLabelFile(f"A Pascal VOC file is at most {MAX_BYTES // 1_000_000} MB.")
    try:
        root = fromstring(content, forbid_dtd=True)
    except DefusedXmlException as error:
        raise BadLabelFile("The XML declares entities or a document type. Remove them.") from error
    except (ParseError, ValueError, LookupError) as error:  # LookupError: an encoding that nobody knows
        raise BadLabelFile("The label is not a readable XML file.") from error
    if root.tag != "annotation":
        raise BadLabelFile("The label is XML, but not of Pascal VOC: its first element is not <annotation>.")
    return root


def _check_size(root: Element, width_px: int, height_px: int) -> None:
    size = root.find("size")
    if size is None:
        return
    stated = tuple(_text(size, name) for name in ("width", "height"))
    # Several tools write 0 where they did not look.
    if all(stated) and stated not in {("0", "0"), (str(width_px), str(height_px))}:
        raise BadLabelFile(
            f"The label is for a picture of {stated[0][:20]} x {stated[1][:20]} pixels; this one has "
            f"{width_px} x {height_px}."
        )


def _box(element: Element, number: int) -> FoundShape:
    name, corners = _text(element, "name"), element.find("bndbox")
    if not name or corners is None:
        raise BadLabelFile(f"Object {number} of the label lacks its <name> or its <bndbox>.")
    try:
        xmin, ymin, xmax, ymax = (float(_text(corners, corner)) for corner in _CORNERS)
        box = Box(xmin=_edge(xmin), ymin=_edge(ymin), xmax=xmax, ymax=ymax)
    except (ValueError, ValidationError) as error:
        shown = ", ".join(f"{corner} {_text(corners, corner)[:20] or 'missing'}" for corner in _CORNERS)
        raise BadLabelFile(f"Object {number} of the label (“{name[:50]}”) is no box: {shown}.") from error
    return FoundShape(box, class_name=name)


def _edge(first: float) -> float:
    """Return the edge before the first pixel; what is negative stays so, to be refused."""
    return max(first - 1, 0.0) if first >= 0 else first


def _text(element: Element, name: str) -> str:
    return (element.findtext(name) or "").strip()
