"""What a training says while it runs."""

import time
from collections.abc import Callable

from app.contracts.jobs import Comparison, JobEventPayload, LogLine, MetricPoint, Progress
from app.inference.bootstrap import Estimate
from app.inference.metrics import SplitMetrics

OnEvent = Callable[[JobEventPayload], None]
"""Receives what happens. May raise, to stop the training at that point."""

_EVERY_S = 0.25


class Reporter:
    """Turns stages, each with its share of the whole, into a progress that never falls."""

    def __init__(self, on_event: OnEvent) -> None:
        self._on_event = on_event
        self._stage = self._message = ""
        self._start = self._end = self._fraction = 0.0
        self._said_at = 0.0

    def begin(self, stage: str, *, until: float, message: str = "") -> None:
        """Enter a stage that ends at `until` of the whole, in [0, 1]."""
        self._stage, self._start, self._end = stage, self._fraction, max(until, self._fraction)
        self._say(self._start, message)

    def step(self, share: float = 0.0, message: str = "") -> None:
        """Say that `share` in [0, 1] of the stage is done; at most four times a second it is sent.

        The first message after a silent step always goes out: what it announces may take long.
        """
        is_announcement = bool(message) and not self._message
        if is_announcement or time.monotonic() - self._said_at >= _EVERY_S:
            self._say(self._start + (self._end - self._start) * min(1.0, max(0.0, share)), message)

    def log(self, text: str, *, is_warning: bool = False) -> None:
        self._on_event(LogLine(text=text, level="warning" if is_warning else "info"))

    def point(self, name: str, x: float, y: float, series: str = "") -> None:
        self._on_event(MetricPoint(name=name, x=x, y=y, series=series))

    def table(self, comparison: Comparison) -> None:
        self._on_event(comparison)

    def results(self, split: str, measured: SplitMetrics) -> None:
        self.log(
            f"{split}: accuracy {_shown(measured.accuracy)}, F1 {_shown(measured.f1)}, AUROC {_shown(measured.auroc)} "
            f"on {measured.n_images:,} images."
        )

    def _say(self, fraction: float, message: str) -> None:
        self._fraction = max(self._fraction, min(1.0, fraction))
        self._said_at = time.monotonic()
        self._message = message
        self._on_event(Progress(stage=self._stage, fraction=self._fraction, message=message))


def _shown(estimate: Estimate) -> str:
    if estimate.value is None or estimate.low is None:
        return "–"
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def shown(*figures: tuple[str, float | None]) -> str:
    """Return figures for the log, as `F1 0.812, recall –`."""
    return ", ".join(f"{name} {value:.3f}" if value is not None else f"{name} –" for name, value in figures)
