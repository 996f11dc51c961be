"""The demonstration's split: fixed, stratified, 70/15/15."""

from collections import Counter
from pathlib import Path

import pytest

from app.cli.demo_data import Cell, by_batch, load_cells, split_cells


def test_each_stratum_is_split_alike_and_always_the_same() -> None:
    cells = [
        Cell(Path(f"{p}-{kind}-{i}"), p, kind) for p in (0.0, 1.0) for kind in ("mono", "poly") for i in range(101)
    ]
    first, second = split_cells(list(cells)), split_cells(list(cells))
    assert first == second
    assert {cell.path for cell in first} == {cell.path for cell in cells}
    for kind in ("mono", "poly"):
        for probability in (0.0, 1.0):
            counts = Counter(c.split for c in first if (c.probability, c.cell_type) == (probability, kind))
            assert abs(counts["train"] - 70.7) < 2
            assert abs(counts["dev"] - 15.15) < 2
            assert abs(counts["test"] - 15.15) < 2


def test_a_batch_shares_everything_that_is_said_of_it() -> None:
    cells = split_cells([Cell(Path(str(i)), (i % 4) / 3, ("mono", "poly")[i % 2]) for i in range(300)])
    batches = list(by_batch(cells, size=20))
    assert sum(map(len, batches)) == 300
    for batch in batches:
        assert len(batch) <= 20
        assert len({(cell.split, cell.category, cell.cell_type, cell.probability) for cell in batch}) == 1


def test_the_real_images_are_all_there() -> None:
    pytest.importorskip("elpv_dataset", exc_type=ImportError)
    cells = load_cells()
    assert len(cells) == 2624
    assert all(cell.path.exists() for cell in cells)
    assert Counter(cell.category for cell in cells) == {"functional": 1803, "defective": 821}
    assert Counter(cell.split for cell in cells) == {"train": 1837, "dev": 394, "test": 393}
