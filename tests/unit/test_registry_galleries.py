"""Piles and their pages: each image once, in order, wherever a page begins."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.errors import Invalid
from app.core.pagination import encode_cursor
from app.registry.galleries import Pile, page_rows
from app.registry.heat import levels
from app.registry.tables import tables_of


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.1, 0.25, 0.1 + 0.2, 0.3])), max_size=40), st.integers(1, 7))
def test_pages_give_each_image_once_in_order(rows: list[tuple[bool, float]], limit: int) -> None:
    pile = Pile(
        np.array([row[0] for row in rows], dtype=np.bool_), np.array([row[1] for row in rows], dtype=np.float64)
    )
    ids = np.arange(len(rows), dtype=np.int64) * 3 + 5
    seen: list[int] = []
    cursor = None
    while True:
        page, cursor = page_rows(pile, ids, cursor, limit)
        seen += page
        if cursor is None:
            break
        assert len(page) == limit
    wanted = sorted((row for row in range(len(rows)) if rows[row][0]), key=lambda row: (rows[row][1], ids[row]))
    assert seen == wanted


@pytest.mark.parametrize(
    "cursor", ["nonsense", encode_cursor("a", 1), encode_cursor(0.5, "1"), encode_cursor(1), encode_cursor(10**400, 1)]
)
def test_a_cursor_that_is_none_is_refused(cursor: str) -> None:
    with pytest.raises(Invalid):
        page_rows(Pile(np.ones(1, dtype=np.bool_), np.zeros(1)), np.ones(1, dtype=np.int64), cursor, 5)


def test_a_heat_map_is_empty_where_nothing_speaks_for_the_class() -> None:
    assert not levels(np.full((3, 3), -1.0, dtype=np.float32), (8, 6)).any()
    painted = levels(np.eye(3, dtype=np.float32), (30, 30))
    assert painted.shape == (30, 30)
    assert painted[2, 2] > 200
    assert painted[2, 27] < 60


def test_comparison_tables_show_what_a_training_stored() -> None:
    rows = [
        {"name": "Lite0", "auroc": {"value": 0.93, "low": 0.92, "high": 0.94}, "seconds": 21.5, "is_chosen": True},
        {"name": "Lite1", "auroc": {"value": None, "low": None, "high": None}, "seconds": 30.0, "is_chosen": False},
    ]
    (table,) = tables_of({"backbones": {"note": "Why.", "rows": rows}, "empty": {"rows": []}, "odd": 3})
    assert (table.title, table.note) == ("Backbones", "Why.")
    assert table.heads == (("Name", False), ("AUROC", True), ("Seconds", True))
    assert [row.is_chosen for row in table.rows] == [True, False]
    assert (table.rows[0].cells[1].low, table.rows[1].cells[1].text) == ("0.920", "–")
