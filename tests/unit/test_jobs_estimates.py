"""How long a training takes, before and while it runs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.jobs.estimates import PastRun, estimate_s, in_words, left_s

runs = st.lists(st.builds(PastRun, st.integers(1, 100_000), st.floats(0.5, 10_000)), max_size=8)


def test_without_history_the_usual_figures_count() -> None:
    assert estimate_s(0, []) == 8.0
    assert estimate_s(2624, []) == pytest.approx(60, abs=5)


def test_a_repeated_training_is_quick() -> None:
    past = [PastRun(2600, 50.0), PastRun(2600, 6.0)]
    assert estimate_s(2600, past) == 6.0
    assert 6.0 < estimate_s(2700, past) < 10.0


@given(st.integers(0, 100_000), runs)
def test_an_estimate_is_positive_and_grows_with_the_images(n_images: int, past: list[PastRun]) -> None:
    assert 0 < estimate_s(n_images, past) <= estimate_s(n_images + 100, past)


@given(st.floats(0, 1), st.floats(0, 10_000), st.none() | st.floats(0.1, 10_000))
def test_time_left_is_never_negative(fraction: float, elapsed_s: float, expected_s: float | None) -> None:
    left = left_s(fraction, elapsed_s, expected_s)
    assert left is None or left >= 0


def test_time_left_follows_the_pace_once_there_is_one() -> None:
    assert left_s(0.0, 0.0, None) is None
    assert left_s(0.0, 10.0, 40.0) == 30.0
    assert left_s(0.5, 30.0, None) == 30.0
    assert left_s(0.9, 90.0, 20.0) == pytest.approx(10.0)  # longer than expected: only the pace counts


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (3, "a few seconds"),
        (9, "about 10 seconds"),
        (41, "about 40 seconds"),
        (60, "about a minute"),
        (130, "about 2 minutes"),
        (3500, "about an hour"),
        (5400, "about 1.5 hours"),
    ],
)
def test_durations_are_said_as_people_say_them(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
