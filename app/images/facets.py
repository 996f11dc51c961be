"""The filters beside the grid, with what each would show, made from the counts of `app.images.queries`."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from app.contracts.tasks import Split
from app.images.filters import NONE, ImageFilter
from app.images.queries import Count, Counts
from app.images.vocabulary import Vocabulary

SPLIT_NAMES = {**{split.value: split.value for split in Split}, NONE: "no split"}


@dataclass(frozen=True, slots=True)
class FacetValue:
    """One value of a filter. `n` is None where it has not been counted yet; `toggled` is the filter after a click."""

    text: str
    n: int | None
    toggled: ImageFilter
    is_on: bool
    color: str | None = None


@dataclass(frozen=True, slots=True)
class Facet:
    key: str
    title: str
    values: tuple[FacetValue, ...]


@dataclass(frozen=True, slots=True)
class Chip:
    """A condition that holds, in words, and the filter without it."""

    text: str
    without: ImageFilter


@dataclass(frozen=True, slots=True)
class Facets:
    """`n_matching` is how many images the filter shows, `n_all` how many the project has."""

    facets: tuple[Facet, ...]
    chips: tuple[Chip, ...]
    n_matching: int
    n_all: int


# Each filter that is counted: does a combination fit it?
_FITS: dict[str, Callable[[ImageFilter, Count], bool]] = {
    "class": lambda f, c: (
        not (f.classes or f.has_no_class)
        or not c.class_ids.isdisjoint(f.classes)
        or (f.has_no_class and c.has_no_class)
    ),
    "split": lambda f, c: not f.splits or (c.split or NONE) in f.splits,
    "labelled": lambda f, c: f.is_labelled is None or c.is_labelled is f.is_labelled,
    "predicted": lambda f, c: not f.predicted or c.predicted_id in f.predicted,
    "wrong": lambda f, c: not f.is_wrong or c.is_wrong,
    "unsure": lambda f, c: not f.is_unsure or c.is_unsure,
}


def build(wanted: ImageFilter, counts: Counts, vocabulary: Vocabulary) -> Facets:
    """Return the facets for a filter. A value's count says what it would show together with the other filters."""
    plain = replace(wanted, since=None)
    cells = counts.cells

    def value(
        key: str,
        text: str,
        given: str,
        fits: Callable[[Count], bool],
        *,
        is_counted: bool = True,
        color: str | None = None,
    ) -> FacetValue:
        others = [check for name, check in _FITS.items() if name != key]
        n = sum(c.n for c in cells if fits(c) and all(check(plain, c) for check in others))
        return FacetValue(text, n if is_counted else None, plain.toggled(key, given), (key, given) in pairs, color)

    pairs = set(plain.pairs())
    facets = [
        Facet(
            "class",
            "Class",
            (
                *(
                    value("class", one.name, str(one.id), partial(_carries, one.id), color=one.color)
                    for one in vocabulary.classes
                ),
                *([value("class", "Nothing to label", NONE, _has_no_class)] if vocabulary.has_shapes else []),
            ),
        ),
        Facet(
            "labelled",
            "Labelled",
            (
                value("labelled", "Labelled", "yes", lambda c: c.is_labelled),
                value("labelled", "Unlabelled", "no", lambda c: not c.is_labelled),
            ),
        ),
        Facet(
            "split",
            "Split",
            tuple(value("split", name.capitalize(), key, partial(_lies_in, key)) for key, name in SPLIT_NAMES.items()),
        ),
    ]
    if vocabulary.tags:
        facets.append(
            Facet(
                "tag",
                "Tag",
                tuple(
                    FacetValue(
                        tag.name,
                        counts.tags.get(tag.id, 0),
                        plain.toggled("tag", str(tag.id)),
                        tag.id in plain.tags,
                    )
                    for tag in vocabulary.tags
                ),
            )
        )
    if vocabulary.model:
        has = counts.has_predictions
        facets.append(
            Facet(
                "predicted",
                "Predicted",
                (
                    *(
                        value(
                            "predicted",
                            one.name,
                            str(one.id),
                            partial(_is_called, one.id),
                            is_counted=has,
                            color=one.color,
                        )
                        for one in vocabulary.classes
                    ),
                    value("wrong", "Wrong", "1", lambda c: c.is_wrong, is_counted=has),
                    value("unsure", "Unsure", "1", lambda c: c.is_unsure, is_counted=has),
                ),
            )
        )
    return Facets(
        facets=tuple(facet for facet in facets if facet.values),
        chips=tuple(chips_of(plain, vocabulary)),
        n_matching=sum(c.n for c in cells if all(check(plain, c) for check in _FITS.values())),
        n_all=vocabulary.n_images,
    )


def _carries(category_id: int, cell: Count) -> bool:
    return category_id in cell.class_ids


def _has_no_class(cell: Count) -> bool:
    return cell.has_no_class


def _is_called(category_id: int, cell: Count) -> bool:
    return cell.predicted_id == category_id


def _lies_in(split: str, cell: Count) -> bool:
    return (cell.split or NONE) == split


def chips_of(wanted: ImageFilter, vocabulary: Vocabulary) -> list[Chip]:
    """Return the conditions of a filter, each in words with the filter that lacks it."""
    chips = []
    for name, given in wanted.pairs():
        text = _words(name, given, vocabulary)
        if text:
            chips.append(Chip(text, wanted.toggled(name, given)))
    return chips


def _words(name: str, given: str, vocabulary: Vocabulary) -> str | None:
    """Return a condition in words, None for what is no condition (the order). What was deleted is named as such."""
    if name == "class" and given == NONE:
        return "nothing to label" if vocabulary.has_shapes else "no class"
    if name == "class":
        found = vocabulary.find_class(int(given))
        return found.name if found else "a deleted class"
    if name == "tag":
        tag = vocabulary.find_tag(int(given))
        return f"tag: {tag.name if tag else 'deleted'}"
    if name == "predicted":
        found = vocabulary.find_class(int(given))
        return f"predicted: {found.name if found else 'a deleted class'}"
    if name.startswith("meta."):
        field = vocabulary.find_field(int(name.removeprefix("meta.")))
        return f"{field.name if field else 'deleted field'}: {given}"
    return {
        "split": SPLIT_NAMES.get(given),
        "labelled": "labelled" if given == "yes" else "unlabelled",
        "wrong": "predicted wrong",
        "unsure": "unsure",
        "model": f"model: {vocabulary.model.name}" if vocabulary.model else "model",
        "q": f"name: {given}",
    }.get(name)
