"""Predictions under load: a bounded queue before a few threads, so that a burst waits a little or is told to come back.

The network runs outside Python's lock, and so does most of the decoding. There are three threads more than the network
has cores: the pictures of two wait in the runtime for a core to be free, the third makes one ready meanwhile.
Runtimes that gain from batches get what waits for the same model in one call.
"""

import asyncio
import contextlib
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field

from app.core.errors import Unavailable
from app.core.pictures import DEFAULT_MAX_PIXELS
from app.inference.loaded import LoadedModel, Prediction
from app.inference.preprocess import Picture
from app.inference.sessions.openvino import n_cpus

BUSY = "The predictor is busy. Try again in a moment."


@dataclass
class _Item:
    model: LoadedModel
    picture: Picture
    threshold: float | None
    future: "Future[Prediction]" = field(default_factory=Future)
    queued_at: float = field(default_factory=time.monotonic)


class BatchingPredictor:
    """Answers predictions from many callers with back-pressure.

    Args:
        max_waiting: Calls that may wait; the next one is refused.
        deadline_s: A call that waited longer than this is refused instead of run: its caller has given up.
        n_threads: Worker threads; by default three more than there are cores.
        max_pixels: Larger pictures are refused.
    """

    def __init__(
        self,
        *,
        max_waiting: int = 64,
        deadline_s: float = 30.0,
        n_threads: int | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
    ) -> None:
        self._max_waiting = max_waiting
        self._deadline_s = deadline_s
        self._max_pixels = max_pixels
        self._waiting: deque[_Item] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"predict-{index}", daemon=True)
            for index in range(n_threads or n_cpus() + 3)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, model: LoadedModel, picture: Picture, *, threshold: float | None = None) -> "Future[Prediction]":
        """Queue a picture and return its future answer.

        Raises:
            Unavailable: The queue is full, or the predictor is shutting down.
        """
        item = _Item(model, picture, threshold)
        with self._changed:
            if self._closed or len(self._waiting) >= self._max_waiting:
                raise Unavailable(BUSY, retry_after_s=1)
            self._waiting.append(item)
            self._changed.notify()
        return item.future

    async def predict(self, model: LoadedModel, picture: Picture, *, threshold: float | None = None) -> Prediction:
        """Answer without blocking the event loop. Cancelling the call drops it from the queue.

        Raises:
            Unavailable: The queue is full, or the answer did not come before the deadline.
            NotAPicture: The bytes are no format that is read.
            BrokenPicture: The file is damaged.
            PictureTooLarge: Too many pixels.
        """
        future = self.submit(model, picture, threshold=threshold)
        try:
            async with asyncio.timeout(self._deadline_s):
                return await asyncio.wrap_future(future)
        except TimeoutError as error:
            raise Unavailable(BUSY, retry_after_s=2) from error

    @property
    def n_waiting(self) -> int:
        return len(self._waiting)

    def close(self) -> None:
        """Refuse new calls, answer the waiting ones with `Unavailable`, and end the threads."""
        with self._changed:
            self._closed = True
            left = list(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()
        for item in left:
            _fail(item, Unavailable(BUSY, retry_after_s=1))
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while True:
            batch = self._take()
            if not batch:
                return
            self._answer(batch)

    def _take(self) -> list[_Item]:
        """Wait for work and return it: items of one model and one threshold, or nothing when closing."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            if self._closed:
                return []
            first = self._waiting.popleft()
            batch = [first]
            while (
                len(batch) < first.model.max_batch
                and self._waiting
                and self._waiting[0].model is first.model
                and self._waiting[0].threshold == first.threshold
            ):
                batch.append(self._waiting.popleft())
        return batch

    def _answer(self, batch: list[_Item]) -> None:
        oldest = time.monotonic() - self._deadline_s
        running = []
        for item in batch:
            if item.queued_at < oldest:
                _fail(item, Unavailable(BUSY, retry_after_s=2))
            elif item.future.set_running_or_notify_cancel():
                running.append(item)
        try:
            if running:
                self._run(running)
        except Exception as error:  # noqa: BLE001 - whatever went wrong belongs to the caller, not to this thread
            if len(running) == 1:
                running[0].future.set_exception(error)
            else:
                self._one_by_one(running)

    def _run(self, items: list[_Item]) -> None:
        answers = items[0].model.predict(
            [item.picture for item in items], threshold=items[0].threshold, max_pixels=self._max_pixels
        )
        for item, answer in zip(items, answers, strict=True):
            item.future.set_result(answer)

    def _one_by_one(self, items: list[_Item]) -> None:
        """One damaged picture must not fail the others of its batch."""
        for item in items:
            try:
                self._run([item])
            except Exception as error:  # noqa: BLE001 - see `_answer`
                item.future.set_exception(error)


def _fail(item: _Item, error: Exception) -> None:
    if item.future.set_running_or_notify_cancel():
        with contextlib.suppress(asyncio.InvalidStateError):
            item.future.set_exception(error)
