"""Small parts of sentences."""

from collections.abc import Iterable


def named(names: Iterable[str], *, most: int = 5, of: int | None = None) -> str:
    """Return the first names of a list, and how many more there are; `of` where `names` are not all of them."""
    every = list(names)
    n_more = (len(every) if of is None else of) - min(most, len(every))
    return ", ".join(every[:most]) + (f" and {n_more:,} more" if n_more > 0 else "")
