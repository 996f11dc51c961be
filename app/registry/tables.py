"""What was compared in a training, as tables for people.

A training stores `{key: rows}` (or `{key: {"title", "note", "rows"}}`); a row is a flat mapping whose values are texts,
numbers, booleans or `{"value", "low", "high"}`. Nothing here knows what was compared, so a new comparison shows up
without a change.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TITLES = {
    "backbones": "Backbones",
    "symmetries": "Symmetries",
    "strengths": "Regularisation",
    "regularisation": "Regularisation",
    "sizes": "Image sizes",
    "heads": "Heads",
    "tuning": "Fine-tuning",
}
_CHOSEN = ("chosen", "is_chosen", "selected")
_SHORT = {
    "auroc": "AUROC",
    "f1": "F1",
    "id": "Id",
    "ms": "ms",
    "px": "px",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """A text, or a figure with its interval where that is known."""

    text: str
    low: str | None = None
    high: str | None = None
    is_number: bool = False


@dataclass(frozen=True, slots=True)
class ComparedRow:
    cells: tuple[Cell, ...]
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class ComparedTable:
    key: str
    title: str
    note: str
    heads: tuple[tuple[str, bool], ...]
    rows: tuple[ComparedRow, ...]


def tables_of(stored: Mapping[str, Any]) -> tuple[ComparedTable, ...]:
    """Return the tables that hold at least one row."""
    found = (_table(key, value) for key, value in stored.items())
    return tuple(table for table in found if table is not None)


def _table(key: str, value: Any) -> ComparedTable | None:
    title, note, rows = TITLES.get(key, _words(key)), "", value
    if isinstance(value, Mapping):
        title, note, rows = str(value.get("title", title)), str(value.get("note", "")), value.get("rows")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, Mapping) for row in rows):
        return None
    names = [name for name in rows[0] if name not in _CHOSEN and not isinstance(rows[0][name], list | tuple)]
    cells = [[_cell(row.get(name)) for name in names] for row in rows]
    heads = tuple((_words(name), cells[0][index].is_number) for index, name in enumerate(names))
    is_chosen = [any(bool(row.get(name)) for name in _CHOSEN) for row in rows]
    return ComparedTable(
        key, title, note, heads, tuple(ComparedRow(tuple(line), on) for line, on in zip(cells, is_chosen, strict=True))
    )


def _cell(value: Any) -> Cell:
    if isinstance(value, Mapping):
        if value.get("value") is None:
            return Cell("–", is_number=True)
        low, high = (None if value.get(side) is None else f"{value[side]:.3f}" for side in ("low", "high"))
        return Cell(f"{value['value']:.3f}", low, high, is_number=True)
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    if isinstance(value, int):
        return Cell(f"{value:,}", is_number=True)
    if isinstance(value, float):
        return Cell(f"{value:.3f}" if 0.001 <= abs(value) < 10 or value == 0 else f"{value:.4g}", is_number=True)
    return Cell("–" if value is None else str(value))


def _words(name: str) -> str:
    if name in _SHORT:
        return _SHORT[name]
    words = [_SHORT.get(word, word) for word in name.split("_")]
    text = " ".join(words)
    return text[:1].upper() + text[1:]
