"""Colours of classes and tags, safe for colour-blind eyes.

Source: Okabe and Ito, "Color Universal Design" (2008), without black; extended by Tol, "Colour Schemes"
(SRON/EPS/TN/09-002, 2021), "muted", and a grey. The style sheet and the macros name the same twelve.
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
    "#44aa99",
    "#999933",
    "#aa4499",
    "#8c8c8c",
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
