"""The seam of the message queue."""

from typing import Protocol


class JobQueue(Protocol):
    """Sends a task's name and an id to whoever works on `queue`. Delivery may fail or happen twice: the row decides."""

    def send(self, task: str, argument: str, *, queue: str) -> None:
        """Send one message.

        Raises:
            Unavailable: The broker cannot be reached; the reaper sends the job again later.
        """
