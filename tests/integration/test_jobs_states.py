"""The life of a job, walked at random against the real database: it can only take the ways of the table."""

from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from app.contracts.jobs import TRANSITIONS, JobState
from app.db.session import transaction
from app.jobs.transitions import CLAIMED, move, sources
from tests import factories
from tests.jobs_support import make_job, read_job

project_id: int


class JobLife(RuleBasedStateMachine):
    """Several hands move one job: a person, a worker, a worker that lost it, the reaper."""

    job_id: UUID
    state = JobState.QUEUED
    token: str | None = None
    old_tokens: tuple[str, ...] = ()
    n_ends = 0

    @initialize()
    def ask(self) -> None:
        self.job_id = make_job(project_id)

    def _try(self, target: JobState, *, token: str | None = None, **values: object) -> bool:
        with transaction() as session:
            return move(session, self.job_id, target, token=token, **values)

    def _expect(self, moved: bool, target: JobState, *, is_allowed: bool) -> None:
        assert moved == is_allowed
        if moved:
            self.n_ends += target.is_terminal
            self.state = target
            if target not in CLAIMED:
                self.old_tokens += (self.token,) if self.token else ()
                self.token = None

    @rule(to=st.sampled_from(JobState))
    def move_from_outside(self, to: JobState) -> None:
        if to is not JobState.RUNNING:  # only a claim does that
            self._expect(self._try(to), to, is_allowed=to in TRANSITIONS[self.state])

    @rule()
    def claim(self) -> None:
        token = uuid4().hex
        moved = self._try(JobState.RUNNING, claim_token=token)
        self._expect(moved, JobState.RUNNING, is_allowed=self.state is JobState.QUEUED)
        if moved:
            self.token = token

    @rule(to=st.sampled_from([JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED]))
    def end_as_the_one_who_holds_it(self, to: JobState) -> None:
        if self.token is not None:
            moved = self._try(to, token=self.token)
            self._expect(moved, to, is_allowed=to in TRANSITIONS[self.state])

    @rule(to=st.sampled_from([JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED]))
    def end_as_one_who_lost_it(self, to: JobState) -> None:
        for token in self.old_tokens:
            assert not self._try(to, token=token)

    @invariant()
    def the_row_tells_the_same_story(self) -> None:
        row = read_job(self.job_id)
        assert row.state == self.state
        assert row.claim_token == self.token
        assert (row.ended_at is not None) == self.state.is_terminal
        assert self.n_ends == int(self.state.is_terminal)


@pytest.mark.usefixtures("database")
def test_a_job_takes_only_the_ways_of_the_table() -> None:
    global project_id
    project_id = factories.make_project(factories.make_user()).id
    run_state_machine_as_test(
        JobLife,
        settings=settings(
            max_examples=25, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_nothing_leaves_a_terminal_state_and_everything_can_end() -> None:
    for state in JobState:
        assert state.is_terminal == (not TRANSITIONS[state])
    assert sources(JobState.SUCCEEDED) == CLAIMED
    assert sources(JobState.QUEUED) == {JobState.RUNNING}
