"""Colours of classes and tags, safe for colour-blind eyes.

Source: the first seven are Okabe and Ito, "Color Universal Design" (2008), without black; wine is of Tol, "Colour
Schemes" (SRON/EPS/TN/09-002, 2021); the last four were searched for the greatest distance from the others in
OKLab, as a normal, a protanope and a deuteranope eye sees them. The style sheet and the macros name the same
twelve, and a test of theirs simulates those eyes.
"""

CATEGORY_COLORS = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#d55e00",
    "#f0e442",
    "#882255",
    "#8ae0d8",
    "#9c3f10",
    "#b4c49c",
    "#5c5f66",
)

# Names that people give to the class of good parts; a new class with one of them is marked good.
GOOD_NAMES = frozenset(
    {"ok", "good", "normal", "pass", "passed", "functional", "fine", "defect-free", "defect_free", "free", "gut", "io"}
)


def next_color(used: set[str]) -> str:
    """Return the first colour that is not in `used`, or the palette from its start again."""
    return next(
        (color for color in CATEGORY_COLORS if color not in used), CATEGORY_COLORS[len(used) % len(CATEGORY_COLORS)]
    )


def is_good_name(name: str) -> bool:
    return name.strip().lower() in GOOD_NAMES
