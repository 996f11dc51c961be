"""A job's card, made from its row and what it said. Pure: no query here."""

from collections.abc import Sequence
from datetime import datetime

from app import catalog
from app.contracts.jobs import Comparison, JobState, LogLine, MetricPoint, Progress
from app.db.tables import JobEvent
from app.jobs import estimates
from app.jobs.events import payload_of
from app.jobs.schemas import Curve, JobCard, JobRow, LogEntry, StageStep
from app.jobs.stages import STAGES, STARTING

_AUTO = "chosen by cross-validation"
_RESIZE = {"auto": "automatic", "stretch": "stretched", "letterbox": "letterboxed"}


def make_card(row: JobRow, events: Sequence[JobEvent], *, now: datetime, expected_s: float | None) -> JobCard:
    """Return everything that the card shows at `now`.

    Args:
        events: What `list_events` gives.
        expected_s: How long such a training usually takes, where something is known.
    """
    payloads = [(event.at, payload_of(event)) for event in events]
    log = tuple(LogEntry(at, line.text, line.level) for at, line in payloads if isinstance(line, LogLine))
    begun = [(at, progress.stage) for at, progress in payloads if isinstance(progress, Progress)]
    return JobCard(
        row=row,
        choices=_choices(row),
        left=_left(row, now, expected_s),
        stages=_stages(_last_attempt(begun), row, now),
        curves=make_curves(row, [point for _, point in payloads if isinstance(point, MetricPoint)]),
        tables=_last_tables([table for _, table in payloads if isinstance(table, Comparison)]),
        log=log,
    )


def _last_tables(tables: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Return one table for each choice: a second attempt says them again."""
    return tuple({table.what: table for table in tables}.values())


def _left(job: JobRow, now: datetime, expected_s: float | None) -> str | None:
    if job.state != JobState.RUNNING or job.started_at is None:
        return None
    seconds = estimates.left_s(job.fraction, (now - job.started_at).total_seconds(), expected_s)
    return None if seconds is None else f"{estimates.in_words(seconds)} left"


def _last_attempt(begun: list[tuple[datetime, str]]) -> list[tuple[datetime, str]]:
    """Return the stages since the job was last taken: a second attempt goes through them again, quickly."""
    starts = [index for index, (_, stage) in enumerate(begun) if stage == STARTING]
    return begun[starts[-1] :] if starts else begun


def _stages(begun: list[tuple[datetime, str]], job: JobRow, now: datetime) -> tuple[StageStep, ...]:
    end = job.ended_at or now
    steps: list[StageStep] = []
    is_under_way = job.state in {JobState.RUNNING, JobState.CANCELLING}
    for index, (at, stage) in enumerate(begun):
        is_last = index == len(begun) - 1
        where = "done"
        if is_last and is_under_way:
            where = "now"
        elif is_last and job.state in {JobState.FAILED, JobState.CANCELLED}:
            where = "failed"
        until = end if is_last else begun[index + 1][0]
        steps.append(StageStep(stage, where, None if job.state == JobState.QUEUED else (until - at).total_seconds()))
    if job.state == JobState.QUEUED:
        steps = []
    if job.state in {JobState.QUEUED, JobState.RUNNING}:
        steps.extend(StageStep(stage, "next", None) for stage in _following(steps))
    return tuple(steps)


def _following(steps: list[StageStep]) -> tuple[str, ...]:
    known = [STAGES.index(step.name) for step in steps if step.name in STAGES]
    return STAGES[max(known, default=-1) + 1 :]


def make_curves(row: JobRow, points: Sequence[MetricPoint]) -> tuple[Curve, ...]:
    """Return a curve for each name, a line in it for each series, in the order in which they were first said."""
    by_name: dict[str, dict[str, dict[float, float]]] = {}
    for point in points:
        # A second attempt says its points again: the last word at each place counts.
        by_name.setdefault(point.name, {}).setdefault(point.series, {})[point.x] = point.y
    return tuple(_curve(row, name, lines) for name, lines in by_name.items() if _is_curve(lines))


def _is_curve(lines: dict[str, dict[float, float]]) -> bool:
    return any(len(points) > 1 for points in lines.values())


def _curve(row: JobRow, name: str, lines: dict[str, dict[float, float]]) -> Curve:
    plain = name.replace("_", " ").capitalize()
    title, x_label, line_name = _CURVES.get(name, (plain, "", plain))
    xs = [x for points in lines.values() for x in points]
    ys = [y for points in lines.values() for y in points.values()]
    low, high = min(ys), max(ys)
    margin = max(0.02, (high - low) * 0.1)
    is_share = low >= 0 and high <= 1
    return Curve(
        id=f"curve-{row.id}-{name}",
        title=title,
        x_label=x_label,
        y_label=title,
        series=tuple(
            {"name": series or line_name, "points": sorted(points.items()), "low": None, "high": None, "color": None}
            for series, points in lines.items()
        ),
        x_range=(min(xs), max(xs)),
        y_range=(max(0.0, low - margin), min(1.0, high + margin)) if is_share else (low - margin, high + margin),
        x_digits=0 if max(xs) > 4 else 2,
    )


# Title, what lies along the x axis, and the name of a single line, of each curve that a training draws.
_CURVES: dict[str, tuple[str, str, str]] = {
    "cross_validated_auroc": ("AUROC in cross-validation", "log10 of C, the inverse of the regularisation", "AUROC"),
    "probability": ("Probability of the right class", "epoch", "images held out"),
    "auroc_by_share_of_labels": ("AUROC on images held out", "share of the labels used", "AUROC"),
}


def _choices(row: JobRow) -> tuple[tuple[str, str], ...]:
    spec = row.spec
    backbone, symmetry = catalog.BACKBONES.get(spec.backbone), catalog.SYMMETRIES.get(spec.symmetry)
    method = catalog.METHODS.get(spec.method)
    size = f"{spec.image_size_px} px, {_RESIZE[spec.resize]}" if spec.image_size_px else _RESIZE[spec.resize]
    facts = [
        ("Images", f"{row.n_images:,} (version {row.version_number})" if row.n_images else "–"),
        ("Backbone", backbone.name if backbone else _AUTO),
        ("Method", method.name if method else spec.method),
        ("Size", size),
        ("Symmetry", symmetry.name if symmetry else _AUTO),
        ("Seed", str(spec.seed)),
    ]
    if not spec.use_references:
        facts.append(("References", "left out"))
    if spec.augmentations is not None:
        amounts = (
            f"{card.name.lower()} {card.shown(spec.augmentations):g} {card.unit}" for card in catalog.AUGMENTATIONS
        )
        facts.append(("Changes while learning", ", ".join(amounts)))
    if spec.time_budget_s:
        facts.append(("Time budget", estimates.in_words(spec.time_budget_s).removeprefix("about ")))
    return tuple(facts)
