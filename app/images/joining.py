"""Pictures that arrive one by one from several clients at once, written in one transaction.

A transaction costs much the same for one row as for ten. What comes while another is being written is written together
when that is done, and while others are on their way a moment is left to them. Each is answered once its own transaction
is committed.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from app.accounts.permissions import Actor
from app.db.session import transaction
from app.images.adding import Extras, Fate, add_images
from app.images.ingest import Taken

MOMENT_S = 0.001


@contextmanager
def coming(project_id: int) -> Iterator[None]:
    """Announce a file that is being read and checked, and will be added in a moment if nothing is wrong with it."""
    announced, mine = _queue_of(project_id).coming, object()
    announced.add(mine)
    try:
        yield
    finally:
        announced.remove(mine)


def add_one(*, actor: Actor, project_id: int, file: Taken, extras: Extras) -> Fate:
    """Insert the row of one file and commit; return what became of it. Raises as `add_images` does."""
    return _queue_of(project_id).add(_Waiting(actor, file, extras))


def count_waiting(project_id: int) -> int:
    """Return how many files of a project wait for their rows, those among them that are being written."""
    return len(_queue_of(project_id).waiting)


@dataclass(eq=False, slots=True)
class _Waiting:
    """A file that waits for its row. One of `fate` and `error` is set when its transaction has ended."""

    actor: Actor
    file: Taken
    extras: Extras
    fate: Fate | None = None
    error: BaseException | None = None


class _Queue:
    """The files of one project that wait: whoever's turn it is writes all that fit into one transaction."""

    def __init__(self, project_id: int) -> None:
        self._project_id = project_id
        self._turn = threading.Lock()
        # Changed without a lock: one `add`, `append` or `remove` is one step for all threads.
        self.waiting: list[_Waiting] = []
        self.coming: set[object] = set()

    def add(self, mine: _Waiting) -> Fate:
        self.waiting.append(mine)
        with self._turn:
            if mine.fate is None and mine.error is None:
                if self.coming:
                    time.sleep(MOMENT_S)
                batch = self._joining(mine)
                try:
                    self._write(batch)
                finally:
                    for each in batch:
                        self.waiting.remove(each)
        if mine.fate is None:
            assert mine.error is not None
            raise mine.error
        return mine.fate

    def _joining(self, mine: _Waiting) -> list[_Waiting]:
        """Return `mine` and what may be written with it: of the same sender, said the same of, other bytes."""
        by_hash = {mine.file.sha256: mine}
        for other in self.waiting[:]:
            if (other.actor, other.extras) == (mine.actor, mine.extras):
                by_hash.setdefault(other.file.sha256, other)
        return list(by_hash.values())

    def _write(self, batch: Sequence[_Waiting]) -> None:
        first = batch[0]
        try:
            with transaction() as session:
                fates = add_images(
                    session,
                    actor=first.actor,
                    project_id=self._project_id,
                    files=[each.file for each in batch],
                    extras=first.extras,
                )
        except BaseException as error:  # of the sender or of what was said of all: nothing in it is one file's own
            for each in batch:
                each.error = error
            raise
        else:
            for each, fate in zip(batch, fates, strict=True):
                each.fate = fate


# Each project has a queue of its own, so that none waits for the locks of another.
_queues: dict[int, _Queue] = {}


def _queue_of(project_id: int) -> _Queue:
    return _queues.get(project_id) or _queues.setdefault(project_id, _Queue(project_id))
