"""The queue of this process."""

from app.queue.base import JobQueue
from app.queue.celery import CeleryQueue

_queue: JobQueue = CeleryQueue()


def current() -> JobQueue:
    return _queue


def use(queue: JobQueue) -> JobQueue:
    """Replace the queue of this process; return the one before. For tests and for `kizu demo --inline`."""
    global _queue
    before, _queue = _queue, queue
    return before
