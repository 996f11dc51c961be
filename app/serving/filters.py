"""What a person asks of the history: read from the address, turned into conditions, written back into links."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, or_

from app.core.clock import utc_now
from app.core.errors import Invalid
from app.db.tables import InferenceRecord

PERIODS = {"day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=30)}
DEFAULT_PERIOD = "week"
STATION = "inspection_station_id"

# The NG score where the model has a good class, else the score of the answer.
shown_score = func.coalesce(InferenceRecord.ng_score, InferenceRecord.score)
is_ng = InferenceRecord.ng_score.is_not(None) & (InferenceRecord.ng_score >= InferenceRecord.threshold)


@dataclass(frozen=True, slots=True)
class HistoryFilter:
    """Which calls to show. `low` and `high` bound the shown score; `period` counts back from now without dates."""

    endpoint_id: UUID | None = None
    category: str | None = None
    answer: str | None = None
    low: float | None = None
    high: float | None = None
    station: str | None = None
    period: str = DEFAULT_PERIOD
    since: date | None = None
    until: date | None = None

    @classmethod
    def read(cls, query: dict[str, str]) -> "HistoryFilter":
        """Return the filter of an address; empty values count as absent, unknown names are ignored.

        Raises:
            Invalid: A value cannot be read.
        """
        given = {name: value.strip() for name, value in query.items() if value.strip()}
        period = given.get("period", DEFAULT_PERIOD)
        answer = given.get("answer")
        if period not in PERIODS and period != "all":
            raise _invalid("period", "There is no such period.")
        if answer not in {None, "ok", "unsure", "ng"}:
            raise _invalid("answer", "There is no such answer.")
        try:
            return cls(
                endpoint_id=UUID(given["endpoint"]) if "endpoint" in given else None,
                category=given.get("class"),
                answer=answer,
                low=_fraction(given.get("low")),
                high=_fraction(given.get("high")),
                station=given.get("station"),
                period=period,
                since=date.fromisoformat(given["since"]) if "since" in given else None,
                until=_day(given["until"]) if "until" in given else None,
            )
        except ValueError as error:
            raise _invalid("filter", "A filter in this address cannot be read. Start again from Monitor.") from error

    def query(self, **changes: Any) -> dict[str, Any]:
        """Return the parameters of a link to this view with `changes`; what is at its default is left out."""
        values: dict[str, Any] = {
            "endpoint": self.endpoint_id,
            "class": self.category,
            "answer": self.answer,
            "low": self.low,
            "high": self.high,
            "station": self.station,
            "period": self.period if self.period != DEFAULT_PERIOD else None,
            "since": self.since,
            "until": self.until,
        } | changes
        return {name: str(value) for name, value in values.items() if value is not None}

    def begins_at(self) -> datetime | None:
        """Return the first moment that is shown, None for the beginning of time."""
        if self.since is not None:
            return datetime(self.since.year, self.since.month, self.since.day, tzinfo=UTC)
        if self.until is not None or self.period == "all":
            return None
        return utc_now() - PERIODS[self.period]

    def ends_at(self) -> datetime | None:
        """Return the first moment that is no longer shown, None for now."""
        if self.until is None:
            return None
        return datetime(self.until.year, self.until.month, self.until.day, tzinfo=UTC) + timedelta(days=1)

    def condition(self, deployment_ids: list[UUID]) -> ColumnElement[bool]:
        """Return the condition on `InferenceRecord`; `deployment_ids` are all that the asker may see."""
        ids = [id_ for id_ in deployment_ids if self.endpoint_id in {None, id_}]
        parts: list[ColumnElement[bool]] = [InferenceRecord.deployment_id.in_(ids)]
        if (begins_at := self.begins_at()) is not None:
            parts.append(InferenceRecord.at >= begins_at)
        if (ends_at := self.ends_at()) is not None:
            parts.append(InferenceRecord.at < ends_at)
        if self.category is not None:
            parts.append(InferenceRecord.category_name == self.category)
        if self.answer is not None:
            parts.append(_answer_condition(self.answer))
        if self.low is not None:
            parts.append(shown_score >= self.low)
        if self.high is not None:
            parts.append(shown_score <= self.high)
        if self.station is not None:
            parts.append(InferenceRecord.call_metadata[STATION].as_string() == self.station)
        return and_(*parts)


def _answer_condition(answer: str) -> ColumnElement[bool]:
    if answer == "ng":
        return is_ng
    if answer == "unsure":
        return InferenceRecord.is_unsure.is_(True)
    return InferenceRecord.is_unsure.is_(False) & or_(
        InferenceRecord.ng_score.is_(None), InferenceRecord.ng_score < InferenceRecord.threshold
    )


def _day(text: str) -> date:
    """Return the last day to show, which has a next one: the bound is where that begins."""
    day = date.fromisoformat(text)
    if day == date.max:
        raise ValueError("the calendar ends there")
    return day


def _fraction(text: str | None) -> float | None:
    if text is None:
        return None
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError("outside of [0, 1]")
    return value


def _invalid(name: str, message: str) -> Invalid:
    return Invalid(message, [{"pointer": f"/{name}", "detail": message, "code": "filter"}])
