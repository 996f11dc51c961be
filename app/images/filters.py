"""What a person has filtered for: read from an address, and written back to one.

Every name and value comes from a list of what is allowed; nothing of an address reaches a query unchecked.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar
from urllib.parse import urlencode
from uuid import UUID

from app.contracts.tasks import Split
from app.core.errors import Invalid

T = TypeVar("T")

NONE = "none"
MAX_VALUES = 200
MAX_TEXT = 200
_MAX_ID = 2**31 - 1
_SPLITS = frozenset({*(split.value for split in Split), NONE})


class Sort(StrEnum):
    """Orders of the grid. Each ends with the id, so that no two images share a place."""

    NEWEST = "newest"
    OLDEST = "oldest"
    NAME = "name"
    UNSURE = "unsure"  # nearest to the model's threshold first
    NG = "ng"  # most likely defective first


@dataclass(frozen=True, slots=True)
class ImageFilter:
    """A filter and an order. Values of one kind are alternatives, different kinds must all hold; tags must all hold.

    Args:
        classes: Category ids; `has_no_class` adds images without one.
        splits: `train`, `dev`, `test`, and `none` for images without a split.
        is_wrong: The model's class is not the image's.
        is_unsure: The model's score is close to its threshold.
        model_id: Whose predictions are meant; None means the project's newest model.
        metadata: (field id, value as text); all must hold.
        text: Part of the name, whatever its case.
        since: Images that were labelled at or after this moment stay, though their class, being labelled or being
            wrong no longer fits: a queue of unlabelled images does not shrink under the hands of who works on it.
    """

    classes: tuple[int, ...] = ()
    has_no_class: bool = False
    splits: tuple[str, ...] = ()
    is_labelled: bool | None = None
    tags: tuple[int, ...] = ()
    predicted: tuple[int, ...] = ()
    is_wrong: bool = False
    is_unsure: bool = False
    model_id: UUID | None = None
    metadata: tuple[tuple[int, str], ...] = ()
    text: str = ""
    sort: Sort = Sort.NEWEST
    since: datetime | None = None

    @property
    def is_empty(self) -> bool:
        """Whether every image of the project fits; the order does not matter."""
        return replace(self, sort=Sort.NEWEST, model_id=None, since=None) == ImageFilter()

    @property
    def depends_on_labels(self) -> bool:
        """Whether labelling an image may take it out of the filter."""
        return bool(self.classes or self.has_no_class or self.is_labelled is not None or self.is_wrong)

    @property
    def asks_model(self) -> bool:
        """Whether a condition (not only the order) depends on what a model said."""
        return bool(self.predicted or self.is_wrong or self.is_unsure)

    def pairs(self) -> list[tuple[str, str]]:
        """Return the filter as query parameters, always in the same order, without what is not set."""
        found: list[tuple[str, str]] = [("class", str(one)) for one in self.classes]
        found += [("class", NONE)] if self.has_no_class else []
        found += [("split", one) for one in self.splits]
        if self.is_labelled is not None:
            found.append(("labelled", "yes" if self.is_labelled else "no"))
        found += [("tag", str(one)) for one in self.tags]
        found += [("predicted", str(one)) for one in self.predicted]
        found += [("wrong", "1")] if self.is_wrong else []
        found += [("unsure", "1")] if self.is_unsure else []
        found += [("model", str(self.model_id))] if self.model_id else []
        found += [(f"{_METADATA}{field_id}", value) for field_id, value in self.metadata]
        found += [("q", self.text)] if self.text else []
        found += [("sort", self.sort.value)] if self.sort is not Sort.NEWEST else []
        found += [("since", f"{self.since.timestamp():.6f}")] if self.since else []
        return found

    def query(self, **more: object) -> str:
        """Return `?...` for an address, or an empty text; `more` is appended, None values are left out."""
        pairs = self.pairs() + [(name, str(value)) for name, value in more.items() if value is not None]
        return f"?{urlencode(pairs)}" if pairs else ""

    def toggled(self, name: str, value: str) -> "ImageFilter":
        """Return the filter with one parameter's value added, or taken away where it is set."""
        pairs = self.pairs()
        if (name, value) in pairs:
            return parse_filter([pair for pair in pairs if pair != (name, value)])
        if name in _SINGLE:
            pairs = [pair for pair in pairs if pair[0] != name]
        return parse_filter([*pairs, (name, value)])

    def unfrozen(self) -> "ImageFilter":
        """Return the filter as the Data screen shows it: what does not fit any more is gone."""
        return replace(self, since=None)

    def cleared(self) -> "ImageFilter":
        """Return the order alone."""
        return ImageFilter(sort=self.sort, model_id=self.model_id)


_SINGLE = frozenset({"labelled", "wrong", "unsure", "model", "q", "sort", "since"})
_MULTIPLE = frozenset({"class", "split", "tag", "predicted"})
_YES_NO: dict[str, bool | None] = {"yes": True, "no": False}
_METADATA = "meta."  # and the id of the field: `meta.3=lot 7`


def parse_filter(pairs: Iterable[tuple[str, str]]) -> ImageFilter:
    """Return the filter of an address.

    Parameters of other names are left to whoever reads them; empty values count as absent.

    Raises:
        Invalid: A parameter has a value that it cannot have.
    """
    values: dict[str, list[str]] = {}
    metadata: set[tuple[int, str]] = set()
    for name, value in pairs:
        if not value.strip():
            continue
        if name in _SINGLE or name in _MULTIPLE:
            values.setdefault(name, []).append(value.strip())
        elif name.startswith(_METADATA):
            metadata.add(_metadata(name, value.strip()))
    for name, given in values.items():
        if len(given) > (1 if name in _SINGLE else MAX_VALUES):
            raise _invalid(name)
    if len(metadata) > MAX_VALUES:
        raise _invalid(_METADATA)
    classes = values.get("class", [])
    splits = values.get("split", [])
    if not _SPLITS.issuperset(splits):
        raise _invalid("split")
    return ImageFilter(
        classes=_ids("class", [one for one in classes if one != NONE]),
        has_no_class=NONE in classes,
        splits=tuple(sorted(set(splits))),
        is_labelled=_choice("labelled", values, _YES_NO, None),
        tags=_ids("tag", values.get("tag", [])),
        predicted=_ids("predicted", values.get("predicted", [])),
        is_wrong=_choice("wrong", values, {"1": True}, default=False),
        is_unsure=_choice("unsure", values, {"1": True}, default=False),
        model_id=_model_id(values),
        metadata=tuple(sorted(metadata)),
        text=_text(values),
        sort=_choice("sort", values, {sort.value: sort for sort in Sort}, Sort.NEWEST),
        since=_since(values),
    )


def _ids(name: str, given: list[str]) -> tuple[int, ...]:
    return tuple(sorted({_id(name, one) for one in given}))


def _id(name: str, given: str) -> int:
    if not (given.isascii() and given.isdigit()) or not 0 < int(given[:12]) <= _MAX_ID:
        raise _invalid(name)
    return int(given)


def _choice(name: str, values: dict[str, list[str]], allowed: dict[str, T], default: T) -> T:
    given = values.get(name)
    if given is None:
        return default
    if given[0] not in allowed:
        raise _invalid(name)
    return allowed[given[0]]


def _model_id(values: dict[str, list[str]]) -> UUID | None:
    given = values.get("model")
    if given is None:
        return None
    try:
        return UUID(given[0])
    except ValueError as error:
        raise _invalid("model") from error


def _metadata(name: str, value: str) -> tuple[int, str]:
    if len(value) > MAX_TEXT or "\0" in value:
        raise _invalid(name[:MAX_TEXT])
    return _id(name[:MAX_TEXT], name.removeprefix(_METADATA)), value


def _text(values: dict[str, list[str]]) -> str:
    text = values.get("q", [""])[0]
    if len(text) > MAX_TEXT or "\0" in text:
        raise _invalid("q")
    return text


def _since(values: dict[str, list[str]]) -> datetime | None:
    given = values.get("since")
    if given is None:
        return None
    try:
        return datetime.fromtimestamp(float(given[0]), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise _invalid("since") from error


def _invalid(name: str) -> Invalid:
    detail = f"The filter “{name}” in this address is not valid. Remove it, or choose it again on the left."
    return Invalid(detail, [{"pointer": f"/{name}", "detail": detail, "code": "filter"}])
