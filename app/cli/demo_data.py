"""The images of the demonstration: ELPV, from the package `elpv-dataset` (CC BY-NC-SA 4.0)."""

import importlib.util
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

SEED = 7
SHARES = (("train", 0.70), ("dev", 0.15), ("test", 0.15))
DEFECTIVE_FROM = 0.5


@dataclass(frozen=True)
class Cell:
    """One photographed solar cell.

    Attributes:
        path: A 300 x 300 grey PNG.
        probability: That the cell is defective, as experts judged it: 0, 1/3, 2/3 or 1.
        cell_type: `mono` or `poly` crystalline.
        split: `train`, `dev` or `test`.
    """

    path: Path
    probability: float
    cell_type: str
    split: str = ""

    @property
    def category(self) -> str:
        return "defective" if self.probability >= DEFECTIVE_FROM else "functional"


def load_cells() -> list[Cell]:
    """Return all cells with their split; the same ones each time.

    Raises:
        SystemExit: The package is not installed.
    """
    spec = importlib.util.find_spec("elpv_dataset")
    if spec is None or spec.origin is None:
        raise SystemExit(
            "The images are not installed. Start the demonstration with `./kizu demo`, which installs them."
        )
    folder = Path(spec.origin).parent / "data"
    with (folder / "labels.csv").open() as file:
        rows = [line.split() for line in file if line.strip()]
    return split_cells([Cell(folder / name, float(probability), kind) for name, probability, kind in rows])


def split_cells(cells: list[Cell]) -> list[Cell]:
    """Return `cells` with a split each: 70/15/15 within each stratum of probability and cell type.

    What rounding leaves over in one stratum is carried to the next, so the shares hold in all as well as in each.
    """
    strata = defaultdict(list)
    for cell in cells:
        strata[cell.probability, cell.cell_type].append(cell)
    rng = random.Random(SEED)  # noqa: S311 - a draw that can be repeated, not a secret
    done, carried = [], {name: 0.0 for name, _ in SHARES}
    for _, stratum in sorted(strata.items()):
        rng.shuffle(stratum)
        begin = 0
        for name, share in SHARES:
            carried[name] += share * len(stratum)
            count = round(carried[name]) if name != SHARES[-1][0] else len(stratum) - begin
            count = min(count, len(stratum) - begin)
            carried[name] -= count
            done += [Cell(c.path, c.probability, c.cell_type, name) for c in stratum[begin : begin + count]]
            begin += count
    return done


def by_batch(cells: list[Cell], size: int = 128) -> Iterator[list[Cell]]:
    """Yield the cells in batches in which all share class, split and metadata, of at most `size`."""

    def kind(cell: Cell) -> tuple[str, float, str]:
        return cell.split, cell.probability, cell.cell_type

    for _, group in groupby(sorted(cells, key=kind), key=kind):
        members = list(group)
        for begin in range(0, len(members), size):
            yield members[begin : begin + size]
