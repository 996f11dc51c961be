"""A queue for tests that have no worker: it remembers what was sent."""

from dataclasses import dataclass, field


@dataclass
class InlineQueue:
    """Keeps messages in `sent`, as `(task, argument, queue)`, in the order in which they were sent."""

    sent: list[tuple[str, str, str]] = field(default_factory=list)

    def send(self, task: str, argument: str, *, queue: str) -> None:
        self.sent.append((task, argument, queue))
