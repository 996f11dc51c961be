"""Reads for the Deploy and Monitor screens, each in as few statements as there are questions."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Integer, String, and_, case, cast, func, literal, select, union_all
from sqlalchemy.orm import Session

from app.core.clock import utc_now
from app.core.pagination import Page, decode_cursor, encode_cursor
from app.db.tables import ApiKey, Category, Deployment, Image, InferenceRecord, ModelVersion, Project
from app.registry.overlays import OverlayShape, outline
from app.serving.filters import HistoryFilter, is_ng, shown_score
from app.serving.recording import RecordedShape
from app.serving.schemas import CallRow, HistoryFigures, ModelChoice, Traffic

N_BINS = 20
PAGE_SIZE = 60
_LATENCIES = 1000
_LONGEST_HOURLY = timedelta(days=2)
_LONGEST_DAILY = timedelta(days=100)


def list_with_models(
    session: Session, project_id: int, *, with_deleted: bool = False
) -> list[tuple[Deployment, ModelVersion, Project]]:
    """Return the endpoints of a project with their models, oldest first.

    The caller checks that the project may be seen: its row comes along, so that the check asks nothing more while the
    caller holds it.
    """
    query = (
        select(Deployment, ModelVersion, Project)
        .join(ModelVersion, ModelVersion.id == Deployment.model_id)
        .join(Project, Project.id == Deployment.project_id)
        .where(Deployment.project_id == project_id)
        .order_by(Deployment.created_at, Deployment.id)
    )
    if not with_deleted:
        query = query.where(Deployment.deleted_at.is_(None))
    return [(deployment, model, project) for deployment, model, project in session.execute(query)]


def find_with_keys(
    session: Session, project_id: int, deployment_id: UUID
) -> tuple[Deployment, ModelVersion, Project, list[ApiKey]] | None:
    """Return an endpoint with its model, its project and its keys that are not revoked, newest first.

    The caller checks that the project may be seen, see `list_with_models`.
    """
    rows = session.execute(
        select(Deployment, ModelVersion, Project, ApiKey)
        .join(ModelVersion, ModelVersion.id == Deployment.model_id)
        .join(Project, Project.id == Deployment.project_id)
        .outerjoin(ApiKey, and_(ApiKey.deployment_id == Deployment.id, ApiKey.revoked_at.is_(None)))
        .where(Deployment.id == deployment_id, Deployment.project_id == project_id, Deployment.deleted_at.is_(None))
        .order_by(ApiKey.created_at.desc())
    ).all()
    if not rows:
        return None
    deployment, model, project, _ = rows[0]
    return deployment, model, project, [key for *_, key in rows if key is not None]


def list_model_choices(session: Session, project_id: int) -> list[ModelChoice]:
    """Return the project's models, newest first."""
    query = select(ModelVersion.id, ModelVersion.name, ModelVersion.threshold, ModelVersion.created_at).where(
        ModelVersion.project_id == project_id
    )
    rows = session.execute(query.order_by(ModelVersion.created_at.desc(), ModelVersion.id))
    return [ModelChoice(*row) for row in rows]


def traffic(session: Session, deployment_ids: Sequence[UUID]) -> dict[UUID, Traffic]:
    """Return calls of the last 24 hours and the latency of the last thousand calls, in one statement."""
    if not deployment_ids:
        return {}
    day_ago = utc_now() - timedelta(days=1)
    counts = (
        select(InferenceRecord.deployment_id, literal("n").label("kind"), cast(func.count(), Integer).label("value"))
        .where(InferenceRecord.deployment_id.in_(deployment_ids), InferenceRecord.at >= day_ago)
        .group_by(InferenceRecord.deployment_id)
    )
    latencies = []
    for deployment_id in deployment_ids:
        last = (
            select(
                InferenceRecord.deployment_id, literal("ms").label("kind"), InferenceRecord.latency_ms.label("value")
            )
            .where(InferenceRecord.deployment_id == deployment_id)
            .order_by(InferenceRecord.id.desc())
            .limit(_LATENCIES)
            .subquery()
        )
        latencies.append(select(last))
    n_day: dict[UUID, int] = {}
    times: dict[UUID, list[float]] = defaultdict(list)
    for deployment_id, kind, value in session.execute(union_all(counts, *latencies)):
        if kind == "n":
            n_day[deployment_id] = int(value)
        else:
            times[deployment_id].append(value)
    return {
        id_: Traffic(n_day.get(id_, 0), quantile(times[id_], 0.5), quantile(times[id_], 0.99)) for id_ in deployment_ids
    }


def quantile(values: Iterable[float], q: float) -> float | None:
    """Return the smallest of `values` that at least the share `q` of them does not exceed; None of none.

    Source: definition 1 of Hyndman and Fan, "Sample quantiles in statistical packages", The American Statistician 50,
    1996, doi:10.1080/00031305.1996.10473566: the inverse of the empirical distribution.
    """
    ordered = sorted(values)
    if not ordered:
        return None
    rank = -(-len(ordered) * q // 1)  # ceiling
    return ordered[max(0, int(rank) - 1)]


def history_page(
    session: Session, endpoints: dict[UUID, str], wanted: HistoryFilter, *, cursor: str | None = None
) -> Page[CallRow]:
    """Return calls, newest first.

    Args:
        endpoints: The names of all endpoints that the asker may see.

    Raises:
        Invalid: The cursor is not one of this list.
    """
    query = (
        select(InferenceRecord, Category.color, Image.id)
        .outerjoin(Category, Category.id == InferenceRecord.category_id)
        .outerjoin(Image, Image.id == InferenceRecord.image_id)
        .where(wanted.condition(list(endpoints)))
        .order_by(InferenceRecord.id.desc())
        .limit(PAGE_SIZE + 1)
    )
    if cursor is not None:
        query = query.where(InferenceRecord.id < int(decode_cursor(cursor, 1)[0] or 0))
    rows = session.execute(query).all()
    items = [_call_row(record, color, image_id, endpoints) for record, color, image_id in rows[:PAGE_SIZE]]
    return Page(items, encode_cursor(items[-1].id) if len(rows) > PAGE_SIZE else None)


def _call_row(record: InferenceRecord, color: str | None, image_id: int | None, names: dict[UUID, str]) -> CallRow:
    was_ng = record.ng_score is not None and record.ng_score >= record.threshold
    return CallRow(
        id=record.id,
        endpoint_name=names[record.deployment_id],
        at=record.at,
        has_picture=record.blob_key is not None,
        width_px=record.width_px,
        height_px=record.height_px,
        category_name=record.category_name,
        color=color or "#8c8c8c",  # the class was deleted meanwhile
        score=record.score,
        ng_score=record.ng_score,
        judgement="ng" if was_ng else "unsure" if record.is_unsure else "ok",
        latency_ms=record.latency_ms,
        source=record.source,
        metadata=record.call_metadata,
        image_id=image_id,
        shapes=None if record.shapes is None else tuple(_outline(one) for one in record.shapes),
    )


def _outline(recorded: dict[str, Any]) -> OverlayShape:
    shape = RecordedShape.model_validate(recorded)
    return outline(shape.name, shape.color, shape.mask or shape.box, shape.score)


def history_figures(session: Session, deployment_ids: list[UUID], wanted: HistoryFilter) -> HistoryFigures:
    """Return calls over time and over the score, counted by the database in one statement."""
    begins_at, ends_at = wanted.begins_at(), min(wanted.ends_at() or utc_now(), utc_now())
    grain = _grain(begins_at, ends_at)
    bucket = _bucket(session, grain).label("bucket")
    answer = case((is_ng, "ng"), (InferenceRecord.is_unsure, "unsure"), else_="ok").label("answer")
    score_bin = _bin(session).label("score_bin")
    counted = (
        select(bucket, answer, score_bin, func.count())
        .where(wanted.condition(deployment_ids))
        .group_by(bucket, answer, score_bin)
    )
    by_bucket: dict[str, Counter[str]] = defaultdict(Counter)
    by_bin: dict[int, Counter[str]] = defaultdict(Counter)
    for name, kind, index, number in session.execute(counted):
        by_bucket[name][kind] += number
        by_bin[min(N_BINS - 1, max(0, int(index)))][kind] += number
    # By the month a silence before the first call says nothing, and the address may ask for the first century.
    names = _bucket_names(begins_at if grain != "month" else None, ends_at, grain, sorted(by_bucket))
    return HistoryFigures(
        buckets=[(_label(name, grain), *_answers(by_bucket[name])) for name in names],
        bins=[(f"{index / N_BINS:.2f}", *_answers(by_bin[index])) for index in range(N_BINS)],
        n_calls=sum(counts.total() for counts in by_bin.values()),
    )


def _answers(counts: Counter[str]) -> tuple[int, int, int]:
    return counts["ok"], counts["unsure"], counts["ng"]


# Characters of `2026-05-01 13` that name an hour, a day, a month.
_GRAINS = {"hour": 13, "day": 10, "month": 7}


def _grain(begins_at: datetime | None, ends_at: datetime) -> str:
    if begins_at is None:
        return "month"
    span = ends_at - begins_at
    return "hour" if span <= _LONGEST_HOURLY else "day" if span <= _LONGEST_DAILY else "month"


def _bucket(session: Session, grain: str) -> Any:
    if session.get_bind().dialect.name == "postgresql":
        text: ColumnElement[str] = func.to_char(func.timezone("UTC", InferenceRecord.at), "YYYY-MM-DD HH24")
    else:
        text = cast(InferenceRecord.at, String)
    return func.substr(text, 1, _GRAINS[grain])


def _bin(session: Session) -> Any:
    # A cast to an integer rounds on PostgreSQL and cuts on SQLite, which may lack floor().
    scaled = shown_score * N_BINS
    return cast(func.floor(scaled) if session.get_bind().dialect.name == "postgresql" else scaled, Integer)


def _bucket_names(begins_at: datetime | None, ends_at: datetime, grain: str, found: list[str]) -> list[str]:
    """Return the names of all buckets from the first moment to the last, so that silence shows as a gap."""
    if begins_at is None:
        if not found:
            return []
        begins_at = datetime.strptime(f"{found[0]}-01", "%Y-%m-%d").replace(tzinfo=UTC)
    names: list[str] = []
    step = timedelta(hours=1) if grain == "hour" else timedelta(days=1)
    moment = begins_at
    while moment < ends_at:
        name = moment.strftime("%Y-%m-%d %H")[: _GRAINS[grain]]
        if not names or names[-1] != name:
            names.append(name)
        moment += step
    last = (ends_at - timedelta(microseconds=1)).strftime("%Y-%m-%d %H")[: _GRAINS[grain]]
    return names if names and names[-1] == last else [*names, last]


def _label(name: str, grain: str) -> str:
    if grain == "hour":
        return f"{name[8:10]}. {name[11:13]}:00"
    return name[5:] if grain == "day" else name
