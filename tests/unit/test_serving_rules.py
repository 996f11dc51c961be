"""Limits, filters, figures and bodies of serving, without a database."""

import json
import math
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import Invalid, RateLimited
from app.serving import wire
from app.serving.filters import HistoryFilter
from app.serving.limits import RateLimit
from app.serving.queries import quantile
from app.serving.snippets import snippets


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_limit_allows_its_number_at_once_and_says_when_the_next_call_is_allowed():
    clock = Clock()
    limit, endpoint = RateLimit(30, clock=clock), uuid4()
    for _ in range(30):
        limit.take(endpoint)
    with pytest.raises(RateLimited) as refused:
        limit.take(endpoint)
    assert refused.value.headers == {"Retry-After": "2"}
    clock.now += 2
    limit.take(endpoint)
    with pytest.raises(RateLimited):
        limit.take(endpoint)


def test_a_limit_counts_each_endpoint_for_itself():
    limit = RateLimit(1, clock=Clock())
    limit.take(uuid4())
    limit.take(uuid4())


def test_without_a_limit_everything_is_allowed():
    limit, endpoint = RateLimit(0, clock=Clock()), uuid4()
    for _ in range(1000):
        limit.take(endpoint)


@given(st.integers(1, 600), st.lists(st.floats(0, 5), min_size=1, max_size=200))
def test_no_minute_sees_more_calls_than_the_burst_and_the_rate_allow(per_minute: int, pauses: list[float]):
    clock = Clock()
    limit, endpoint = RateLimit(per_minute, clock=clock), uuid4()
    n_allowed = 0
    for pause in pauses:
        clock.now += pause
        try:
            limit.take(endpoint)
        except RateLimited:
            continue
        n_allowed += 1
    assert n_allowed <= per_minute + per_minute * clock.now / 60 + 1e-6


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.001, 1))
def test_a_quantile_is_a_value_that_its_share_does_not_exceed(values: list[float], q: float):
    found = quantile(values, q)
    assert found in values
    assert sum(value <= found for value in values) >= math.ceil(len(values) * q - 1e-9)
    assert sum(value < found for value in values) < math.ceil(len(values) * q - 1e-9) or found == min(values)


def test_no_values_have_no_quantile():
    assert quantile([], 0.5) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, {}),
        ("", {}),
        ('{"image_id":"","inspection_station_id":"S1","location_id":""}', {"inspection_station_id": "S1"}),
        ('{"shift": 2, "is_retry": false}', {"shift": 2, "is_retry": False}),
    ],
)
def test_metadata_is_a_flat_object_without_its_empty_values(text: str | None, expected: dict):
    assert wire.read_metadata(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "[",
        "[]",
        '"x"',
        '{"a": {"b": 1}}',
        '{"a": [1]}',
        '{"a": NaN}',
        '{"a": Infinity}',
        r'{"a": "\u0000"}',
        r'{"a": "\ud800"}',
        "[" * 5000,
    ],
)
def test_other_metadata_is_refused(text: str):
    with pytest.raises(Invalid):
        wire.read_metadata(text)


@given(st.text())
def test_any_metadata_text_is_read_or_refused(text: str):
    try:
        values = wire.read_metadata(text)
    except Invalid:
        return
    json.dumps(values, allow_nan=False).encode()


def test_the_latency_joins_the_body_with_the_time_of_its_own_encoding():
    ticks = iter([1.0, 1.5])
    body = json.loads(wire.encode({"type": "x"}, {"infer_s": 0.25}, clock=lambda: next(ticks)))
    assert body == {"type": "x", "latency": {"infer_s": 0.25, "serialize_s": 0.5}}


def test_a_filter_survives_its_own_link():
    query = {
        "endpoint": str(uuid4()),
        "class": "scratch",
        "answer": "ng",
        "low": "0.25",
        "high": "0.75",
        "station": "S1",
        "period": "all",
        "since": "2026-05-01",
        "until": "2026-05-02",
    }
    assert HistoryFilter.read(query).query() == query
    assert HistoryFilter.read({"class": "", "cursor": "x", "utm": "y"}) == HistoryFilter()


@pytest.mark.parametrize(
    "query",
    [{"endpoint": "1"}, {"low": "2"}, {"high": "nan"}, {"since": "soon"}, {"period": "era"}, {"answer": "maybe"}],
)
def test_a_filter_that_cannot_be_read_is_refused(query: dict[str, str]):
    with pytest.raises(Invalid):
        HistoryFilter.read(query)


def test_every_snippet_holds_the_address_and_the_key():
    endpoint_id = uuid4()
    for snippet in snippets("https://kizu.example/", endpoint_id, "land_sk_x"):
        assert "https://kizu.example/inference/v1/predict" in snippet.code
        assert str(endpoint_id) in snippet.code
        assert "land_sk_x" in snippet.code
        compile(snippet.code, snippet.id, "exec") if snippet.id in {"python", "landingai"} else None
