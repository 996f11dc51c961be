"""What is remembered of who may call which endpoint, and for how long."""

from contextlib import nullcontext
from uuid import uuid4

import pytest

from app.serving import access
from app.serving.access import REMEMBER_S, AccessCache

KEY, ENDPOINT_ID = "land_sk_x", uuid4()


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return what the database has answered so far, the newest last."""
    given: list[object] = []

    def check(*_arguments: object) -> object:
        given.append(object())
        return given[-1]

    monkeypatch.setattr(access, "new_session", nullcontext)
    monkeypatch.setattr(access, "check_access", check)
    return given


def test_an_answer_is_remembered_for_its_time_and_no_longer(answers: list[object]) -> None:
    now = [0.0]
    cache = AccessCache(clock=lambda: now[0])
    assert cache.find(KEY, ENDPOINT_ID) is None
    cache.check(KEY, ENDPOINT_ID)
    assert cache.find(KEY, ENDPOINT_ID) is answers[0]
    assert cache.find("land_sk_y", ENDPOINT_ID) is None
    assert cache.find(KEY, uuid4()) is None
    now[0] = REMEMBER_S
    assert cache.find(KEY, ENDPOINT_ID) is None


def test_under_load_one_call_asks_anew_before_an_answer_ends(answers: list[object]) -> None:
    now = [0.0]
    cache = AccessCache(clock=lambda: now[0])
    cache.check(KEY, ENDPOINT_ID)
    now[0] = 0.9 * REMEMBER_S
    assert cache.find(KEY, ENDPOINT_ID) is None, "this call asks the database"
    assert cache.find(KEY, ENDPOINT_ID) is answers[0], "the others go on with what is known"
    cache.check(KEY, ENDPOINT_ID)
    now[0] = 1.5 * REMEMBER_S
    assert cache.find(KEY, ENDPOINT_ID) is answers[1]


def test_what_was_forgotten_while_the_database_was_asked_is_not_remembered(
    monkeypatch: pytest.MonkeyPatch, answers: list[object]
) -> None:
    cache = AccessCache(clock=lambda: 0.0)

    def changed_meanwhile(*_arguments: object) -> object:
        cache.forget(ENDPOINT_ID)
        return object()

    monkeypatch.setattr(access, "check_access", changed_meanwhile)
    cache.check(KEY, ENDPOINT_ID)
    assert cache.find(KEY, ENDPOINT_ID) is None
    assert not answers
