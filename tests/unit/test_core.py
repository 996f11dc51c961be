"""Cursors, passwords, keys and times."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import AppError, Invalid, RateLimited, Unavailable
from app.core.ids import API_KEY_PREFIX, new_api_key
from app.core.pagination import decode_cursor, encode_cursor
from app.core.passwords import generate_password, hash_password, is_password
from app.db.base import UtcDateTime
from app.web.problem_types import problem_classes
from app.web.rendering import human_bytes

POSITION = st.lists(st.none() | st.integers(-(2**53), 2**53) | st.text(max_size=20), min_size=1, max_size=4)


@given(POSITION)
def test_a_cursor_gives_back_the_position_it_was_made_from(position: list[object]) -> None:
    assert decode_cursor(encode_cursor(*position), len(position)) == position


@given(st.text(max_size=80), st.integers(1, 3))
def test_any_other_text_is_no_cursor(text: str, length: int) -> None:
    with suppress(Invalid):
        assert len(decode_cursor(text, length)) == length


@pytest.mark.parametrize("nested", ["[[1]]", '[{"a": 1}]', "[" * 5000 + "]" * 5000])
def test_a_cursor_holds_plain_values_only(nested: str) -> None:
    import base64

    with pytest.raises(Invalid):
        decode_cursor(base64.urlsafe_b64encode(nested.encode()).decode(), 1)


def test_a_password_is_known_again_and_no_other() -> None:
    hashed = hash_password("correct horse")
    assert is_password("correct horse", hashed)
    assert not is_password("correct horsf", hashed)
    assert not is_password("anything", None)
    assert hash_password("correct horse") != hashed


def test_generated_secrets_differ_and_have_the_contracts_prefix() -> None:
    assert len({generate_password() for _ in range(100)}) == 100
    keys = {new_api_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(key.startswith(API_KEY_PREFIX) and len(key) >= 40 for key in keys)


def test_times_are_stored_in_utc_and_come_back_aware() -> None:
    class Dialect:
        name = "sqlite"

    column = UtcDateTime()
    tokyo = datetime(2026, 5, 1, 9, tzinfo=timezone(timedelta(hours=9)))
    stored = column.process_bind_param(tokyo, Dialect())
    assert stored == datetime(2026, 5, 1, 0)  # noqa: DTZ001  naive on purpose: what SQLite holds
    assert column.process_result_value(stored, Dialect()) == datetime(2026, 5, 1, tzinfo=UTC)
    with pytest.raises(ValueError, match="without zone"):
        column.process_bind_param(datetime(2026, 5, 1), Dialect())  # noqa: DTZ001  the mistake under test


def test_every_error_has_its_own_code_and_a_title() -> None:
    classes = [error for error in problem_classes().values() if error is not AppError]
    assert len({error.code for error in classes}) == len(classes)
    assert all(400 <= error.status < 600 and error.title for error in classes)


@pytest.mark.parametrize("error", [RateLimited("x"), Unavailable("x", retry_after_s=0)])
def test_try_later_always_says_when(error: AppError) -> None:
    assert int(error.headers["Retry-After"]) >= 1


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 B"), (999, "999 B"), (1500, "2 kB"), (1_400_000, "1.4 MB"), (2.5e12, "2500.0 GB")]
)
def test_sizes_are_written_for_people(number: float, text: str) -> None:
    assert human_bytes(number) == text
