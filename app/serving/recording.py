"""The history of calls, written behind the requests' backs.

A prediction never waits for its record and never fails for it: calls go into a queue in memory, and one thread stores
their pictures and inserts their rows in batches. The queue is bounded. When pictures come faster than the store takes
them, the newest are recorded without their picture; when even rows pile up (the database is away), calls are not
recorded at all. Both are counted, logged, and shown on the Monitor screen: on a production line the answer is worth
more than its record. What is queued is written before the process ends.
"""

import hashlib
import logging
import sys
import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from sqlalchemy import insert, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from app.contracts.shapes import Box, Mask
from app.core.errors import AppError
from app.core.pictures import probe
from app.db.session import transaction
from app.db.tables import ApiKey, InferenceRecord
from app.settings import get_settings
from app.storage import keys
from app.storage.current import blobs

log = logging.getLogger(__name__)

_COPIED = (
    "deployment_id",
    "model_id",
    "at",
    "category_id",
    "category_name",
    "score",
    "ng_score",
    "is_unsure",
    "scores",
    "shapes",
    "threshold",
    "latency_ms",
    "source",
    "call_metadata",
)
MAX_WAITING_CALLS = 20_000
MAX_WAITING_BYTES = 96_000_000
BATCH_CALLS = 256
GATHER_S = 0.25
RETRY_S = 1.0
DRAIN_S = 20.0


class RecordedShape(BaseModel):
    """One find as the history keeps it: with the class's name and colour of that day."""

    model_config = ConfigDict(frozen=True)

    name: str
    color: str
    score: float
    box: Box
    mask: Mask | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One answered prediction, with the bytes of its picture as they came.

    Where the model finds shapes, `shapes` holds those at or above the threshold, the best first, and the class is the
    best one's; with none, `category_id` is None and `category_name` empty.
    """

    deployment_id: UUID
    model_id: UUID
    at: datetime
    picture: bytes
    category_id: int | None
    category_name: str
    score: float
    ng_score: float | None
    is_unsure: bool
    scores: list[float]
    threshold: float
    latency_ms: float
    source: str
    call_metadata: dict[str, Any]
    key_id: UUID | None = None
    shapes: tuple[RecordedShape, ...] | None = None


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A row to insert; `picture` is None where it is not to be kept."""

    call: Call
    row: dict[str, Any] | None  # None: still to be made, from the picture
    picture: bytes | None


class Recorder:
    """The queue and its one thread, which starts with the first call. Thread-safe.

    Attributes:
        n_dropped: Calls that were not recorded since the process began.
        n_without_picture: Calls recorded without their picture, for want of room.
    """

    def __init__(self, *, max_calls: int = MAX_WAITING_CALLS, max_bytes: int = MAX_WAITING_BYTES) -> None:
        self._max_calls = max_calls
        self._max_bytes = max_bytes
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._in_hand = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing_at: float | None = None
        self.n_dropped = 0
        self.n_without_picture = 0

    def add(self, call: Call) -> None:
        """Queue a call; returns at once, whatever the state of the database."""
        with self._changed:
            if len(self._waiting) >= self._max_calls or self._closing_at is not None:
                self._count_dropped(1)
                return
            self._waiting.append(self._admit(call))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
                self._thread.start()
            if len(self._waiting) == 1 or len(self._waiting) == BATCH_CALLS:
                self._changed.notify_all()

    def _admit(self, call: Call) -> _Waiting:
        size = len(call.picture)
        if self._waiting_bytes + size > self._max_bytes:
            self.n_without_picture += 1
            # Its row is made at once, so that the picture can be let go.
            return _Waiting(replace(call, picture=b""), _row(call), None)
        self._waiting_bytes += size
        return _Waiting(call, None, call.picture)

    def flush(self, timeout_s: float = DRAIN_S) -> bool:
        """Wait until everything queued so far is written; tell whether it was."""
        with self._changed:
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._waiting and not self._in_hand, timeout_s)

    def close(self) -> None:
        """Write what is queued, for up to `DRAIN_S`, and end the thread; the next call starts another."""
        with self._changed:
            thread = self._thread
            if thread is None:
                return
            self._closing_at = time.monotonic() + DRAIN_S
            self._changed.notify_all()
        thread.join(DRAIN_S + RETRY_S)
        with self._changed:
            self._count_dropped(len(self._waiting))
            self._waiting.clear()
            self._waiting_bytes = 0
            self._thread = None
            self._closing_at = None

    def _run(self) -> None:
        while True:
            batch = self._next_batch()
            if not batch:
                return
            self._write(batch)
            with self._changed:
                self._in_hand = 0
                self._changed.notify_all()

    def _next_batch(self) -> list[_Waiting]:
        """Wait for calls, and a little longer for more of them; an empty list ends the thread."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing_at is not None)
            if self._closing_at is None and len(self._waiting) < BATCH_CALLS:
                self._changed.wait(GATHER_S)
            batch = [self._waiting.popleft() for _ in range(min(BATCH_CALLS, len(self._waiting)))]
            self._waiting_bytes -= sum(len(waiting.picture or b"") for waiting in batch)
            self._in_hand = len(batch)
            return batch

    def _write(self, batch: list[_Waiting]) -> None:
        rows = [_stored(waiting) for waiting in batch]
        while True:
            try:
                with transaction() as session:
                    session.execute(insert(InferenceRecord), rows)
                    _note_key_use(session, batch)
                return
            except (OperationalError, PoolTimeout) as error:
                log.warning("%d calls cannot be recorded yet: %s", len(batch), error)
                with self._changed:
                    if self._closing_at is not None and time.monotonic() + RETRY_S > self._closing_at:
                        self._count_dropped(len(batch))
                        return
                time.sleep(RETRY_S)
            except Exception:  # whatever is wrong with one call must not end the history of the others
                log.info("a batch of calls is written one by one", exc_info=True)
                _write_one_by_one(rows)
                return

    def _count_dropped(self, number: int) -> None:
        if number and self.n_dropped == 0:
            log.error("the history cannot keep up: calls are answered but not recorded")
        self.n_dropped += number


def _row(call: Call) -> dict[str, Any]:
    row = {name: getattr(call, name) for name in _COPIED}
    if call.shapes is not None:
        row["shapes"] = [shape.model_dump(mode="json", exclude_none=True) for shape in call.shapes]
    try:
        info = probe(call.picture, max_pixels=sys.maxsize)
        size_px = (info.width_px, info.height_px)
    except AppError:  # it was decoded a moment ago, so this is a header that two readers see differently
        size_px = (0, 0)
    row["width_px"], row["height_px"] = size_px
    row["sha256"] = hashlib.sha256(call.picture).hexdigest()
    row["blob_key"] = None
    return row


def _stored(waiting: _Waiting) -> dict[str, Any]:
    """Return the row of a call, its picture stored; the same picture sent again soon is stored once."""
    row = waiting.row or _row(waiting.call)
    if waiting.picture is None or not get_settings().history_images:
        return row
    key = keys.inference_image(waiting.call.deployment_id, row["sha256"])
    try:
        _store_once(key, waiting.picture)
    except Exception:  # a full or absent store costs the picture, not the row
        log.exception("the picture of a call could not be stored")
        return row
    return row | {"blob_key": key}


def _write_one_by_one(rows: list[dict[str, Any]]) -> None:
    """Write what can be written; what cannot is most likely of an endpoint that was deleted for good meanwhile."""
    for row in rows:
        try:
            with transaction() as session:
                session.execute(insert(InferenceRecord), [row])
        except Exception as error:  # noqa: BLE001 - see `Recorder._write`
            log.warning("a call of endpoint %s cannot be recorded: %s", row["deployment_id"], error)


_stored_keys: OrderedDict[str, None] = OrderedDict()
_MOST_STORED_KEYS = 4096


def _store_once(key: str, picture: bytes) -> None:
    """Store a picture unless it was stored lately; storing it again would only write the same bytes over themselves."""
    if key in _stored_keys:
        _stored_keys.move_to_end(key)
        return
    blobs().put(key, picture)
    _stored_keys[key] = None
    if len(_stored_keys) > _MOST_STORED_KEYS:
        _stored_keys.popitem(last=False)


def _note_key_use(session: Session, batch: list[_Waiting]) -> None:
    last_used = {waiting.call.key_id: waiting.call.at for waiting in batch if waiting.call.key_id is not None}
    for key_id, at in last_used.items():
        session.execute(update(ApiKey).where(ApiKey.id == key_id).values(last_used_at=at))


_recorder = Recorder()


def recorder() -> Recorder:
    """Return the recorder of this process."""
    return _recorder
