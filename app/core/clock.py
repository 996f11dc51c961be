"""The time, always aware and in UTC."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return the present moment as an aware datetime in UTC."""
    return datetime.now(UTC)
