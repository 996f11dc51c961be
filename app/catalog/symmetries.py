"""Symmetries of a part: turns and flips of its image under which it is still the same part.

A model averages its features over the views of a group, so what it says of a part does not depend on them.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class View:
    """One of the eight dihedral views of a square image: turn counter-clockwise, then mirror left to right."""

    index: int

    @property
    def quarter_turns(self) -> int:
        return self.index % 4

    @property
    def is_mirrored(self) -> bool:
        return self.index >= 4


@dataclass(frozen=True)
class SymmetryCard:
    """A set of views. Prediction costs one pass of the backbone for each."""

    id: str
    name: str
    description: str
    views: tuple[View, ...]


def _views(*indices: int) -> tuple[View, ...]:
    return tuple(View(index) for index in indices)


SYMMETRIES: dict[str, SymmetryCard] = {
    card.id: card
    for card in (
        SymmetryCard("identity", "None", "The part always lies the same way, and its two sides differ.", _views(0)),
        SymmetryCard("flip_h", "Left and right", "A part mirrored left to right is the same part.", _views(0, 4)),
        SymmetryCard("flip_v", "Top and bottom", "A part mirrored top to bottom is the same part.", _views(0, 6)),
        SymmetryCard("half_turn", "Half turn", "A part turned by 180 degrees is the same part.", _views(0, 2)),
        SymmetryCard("rot90", "Quarter turn", "A part turned by 90 degrees is the same part.", _views(0, 1)),
        SymmetryCard(
            "flips",
            "Both flips",
            "Mirrored either way or turned by 180 degrees, it is the same part.",
            _views(0, 2, 4, 6),
        ),
        SymmetryCard(
            "turns", "All quarter turns", "Turned by 90, 180 or 270 degrees, it is the same part.", _views(0, 1, 2, 3)
        ),
        SymmetryCard(
            "d4", "All turns and flips", "However it is turned or mirrored, it is the same part.", _views(*range(8))
        ),
    )
}

# What `auto` compares: two views at most, so that a prediction costs no more than twice the plain one.
AUTO_SYMMETRIES: tuple[str, ...] = ("identity", "flip_h", "flip_v", "rot90")
