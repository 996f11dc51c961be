"""A worker's hold on a job, against the real database, without a broker."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import select, update

from app.contracts.jobs import Comparison, ComparisonRow, LogLine, MetricPoint, Progress
from app.core.clock import utc_now
from app.core.errors import Invalid
from app.db.session import new_session, transaction
from app.db.tables import Image, Job, JobEvent, Project, User, UserSession
from app.jobs import events as job_events
from app.jobs import sending
from app.queue.inline import InlineQueue
from app.settings import get_settings
from tests import factories
from tests.jobs_support import add_images, log_lines, make_job, read_job, set_job
from worker.runtime import processes, reaper, tidying, workdirs
from worker.runtime.claims import ClaimLost, JobCancelled, claim


@pytest.fixture
def project_id(database: None) -> int:
    return factories.make_project(factories.make_user()).id


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Settings under which a silence of half a second means death, and a stop is urgent."""
    monkeypatch.setenv("KIZU_JOB_HEARTBEAT_S", "0.5")
    monkeypatch.setenv("KIZU_JOB_CANCEL_GRACE_S", "0.3")
    monkeypatch.setenv("KIZU_JOB_MAX_ATTEMPTS", "2")
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def wait_until(condition, longest_s: float = 5.0) -> None:
    until = time.monotonic() + longest_s
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


def test_work_that_reaches_the_end_succeeds_once(project_id: int) -> None:
    job_id = make_job(project_id)
    with claim(job_id) as job:
        assert job is not None
        job.step(Progress(stage="Reading", fraction=0.2, message="half"))
        job.step(MetricPoint(name="cv", x=1, y=0.5))
        job.log("fine")
    row = read_job(job_id)
    assert (row.state, row.fraction, row.claim_token, row.worker_pid) == ("succeeded", 1.0, None, None)
    assert row.ended_at is not None
    assert "fine" in log_lines(job_id)


def test_odd_values_and_characters_do_not_silence_a_job(project_id: int) -> None:
    job_id = make_job(project_id)
    rows = (ComparisonRow(id="a", name="A", score=float("nan"), low=float("nan"), high=float("inf")),)
    with claim(job_id) as job:
        job.step(Progress(stage="Reading", fraction=0.1, message="a\0b"))
        job.step(MetricPoint(name="auroc", x=1, y=float("nan")))
        job.step(Comparison(what="backbone", metric="auroc", n_images=2, n_folds=2, reason="None.", rows=rows))
        job.log("nul \0 character")
        wait_until(lambda: read_job(job_id).message == "ab")
    assert log_lines(job_id)[-1] == "nul  character"
    with new_session() as session:
        stored = session.scalars(select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.kind == "comparison")).one()
    assert job_events.payload_of(stored).rows[0].score is None


def test_a_second_delivery_gets_nothing(project_id: int) -> None:
    job_id = make_job(project_id)
    with claim(job_id) as job:
        assert job is not None
        with claim(job_id) as again:
            assert again is None
    with claim(job_id) as late:
        assert late is None
    assert read_job(job_id).n_attempts == 1


def test_of_many_deliveries_at_once_exactly_one_works(project_id: int) -> None:
    job_id = make_job(project_id)
    taken: list[int] = []
    gate = threading.Barrier(6)

    def deliver(number: int) -> None:
        gate.wait()
        with claim(job_id) as job:
            if job is not None:
                taken.append(number)
                time.sleep(0.1)

    threads = [threading.Thread(target=deliver, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 1
    assert read_job(job_id).state == "succeeded"


def test_an_unknown_job_gives_nothing(project_id: int) -> None:
    with claim(uuid4()) as job:
        assert job is None


def test_a_stop_reaches_silent_work_and_work_that_speaks(project_id: int) -> None:
    job_id = make_job(project_id)
    with claim(job_id) as job:
        set_job(job_id, state="cancelling", stop_asked_at=utc_now())
        wait_until(lambda: not _goes_on(job))
        job.step(LogLine(text="one more"))
        pytest.fail("a step after the request to stop must raise")
    assert read_job(job_id).state == "cancelled"


def _goes_on(job) -> bool:
    try:
        job.check()
    except (JobCancelled, ClaimLost):
        return False
    return True


def test_a_stop_that_comes_before_the_result_keeps_the_result_out(project_id: int) -> None:
    job_id = make_job(project_id)
    written: list[bool] = []
    with claim(job_id) as job:
        set_job(job_id, state="cancelling", stop_asked_at=utc_now())
        job.succeed(lambda _session: written.append(True))
    assert written == []
    assert read_job(job_id).state == "cancelled"


def test_an_error_for_people_is_kept_and_a_fault_gets_an_id(project_id: int, caplog: pytest.LogCaptureFixture) -> None:
    job_id, other_id = make_job(project_id), make_job(project_id)
    with claim(job_id):
        raise Invalid("Two images cannot be read.")
    row = read_job(job_id)
    assert (row.state, row.message, row.error_id) == ("failed", "Two images cannot be read.", None)
    with claim(other_id):
        raise KeyError("secret detail")
    row = read_job(other_id)
    assert row.state == "failed"
    assert row.error_id in row.message
    assert "secret" not in row.message
    assert row.error_id in caplog.text
    assert "secret detail" in caplog.text


def test_running_out_of_memory_is_said_plainly(project_id: int) -> None:
    job_id = make_job(project_id)
    with claim(job_id):
        raise MemoryError
    assert "out of memory" in read_job(job_id).message


def test_a_result_that_cannot_be_stored_fails_the_job_and_stores_nothing(project_id: int) -> None:
    job_id = make_job(project_id)

    def write(session) -> None:
        session.add(Job(project_id=project_id, kind="train", spec={"half": "written"}))
        session.flush()
        raise RuntimeError("the disk is gone")

    with claim(job_id) as job:
        job.succeed(write)
    assert read_job(job_id).state == "failed"
    with new_session() as session:
        assert session.scalars(select(Job.id)).all() == [job_id]


def test_the_death_of_the_process_leaves_the_row_to_the_reaper(project_id: int, queue: InlineQueue) -> None:
    job_id = make_job(project_id)
    with pytest.raises(SystemExit), claim(job_id):
        raise SystemExit
    assert read_job(job_id).state == "running"
    set_job(job_id, worker_pid=2**22 - 1)  # no such process
    reaper.reap()
    assert read_job(job_id).state == "queued"
    assert queue.sent == [("jobs.train", str(job_id), "gpu")]
    with claim(job_id) as job:
        assert job.ticket.n_attempts == 2
    assert read_job(job_id).state == "succeeded"
    assert any("goes on" in line for line in log_lines(job_id))


def test_silence_of_another_host_gives_the_job_away_and_the_first_attempt_loses(
    project_id: int, queue: InlineQueue, impatient: None
) -> None:
    job_id = make_job(project_id)
    with claim(job_id) as first:
        set_job(job_id, worker_host="elsewhere", heartbeat_at=utc_now() - timedelta(seconds=60), claim_token="other")
        reaper.reap()
        assert read_job(job_id).state == "queued"
        with claim(job_id) as second:
            assert second is not None
            with pytest.raises(ClaimLost):
                first.succeed(lambda _session: pytest.fail("the first attempt must not store anything"))
    row = read_job(job_id)
    assert (row.state, row.n_attempts) == ("succeeded", 2)


def test_a_living_silent_call_keeps_its_job(project_id: int, queue: InlineQueue, impatient: None) -> None:
    job_id = make_job(project_id)
    with claim(job_id):
        time.sleep(1.2)  # more than two silences
        reaper.reap()
        assert read_job(job_id).state == "running"
    assert queue.sent == []


def test_a_job_that_kills_its_workers_is_given_up(project_id: int, queue: InlineQueue, impatient: None) -> None:
    job_id = make_job(project_id)
    for _ in range(2):
        with pytest.raises(SystemExit), claim(job_id):
            raise SystemExit
        set_job(job_id, worker_pid=2**22 - 1)
        reaper.reap()
    row = read_job(job_id)
    assert row.state == "failed"
    assert "ended 2 times" in row.message


def test_a_dead_worker_that_was_to_stop_has_stopped(project_id: int, queue: InlineQueue) -> None:
    job_id = make_job(project_id)
    with pytest.raises(SystemExit), claim(job_id):
        raise SystemExit
    set_job(job_id, worker_pid=2**22 - 1, state="cancelling", stop_asked_at=utc_now())
    reaper.reap()
    assert read_job(job_id).state == "cancelled"
    assert queue.sent == []


def test_work_that_does_not_stop_is_noticed(project_id: int, impatient: None) -> None:
    job_id = make_job(project_id)
    overdue = threading.Event()
    with claim(job_id, on_overdue=overdue.set) as job:
        set_job(job_id, state="cancelling", stop_asked_at=utc_now())
        assert overdue.wait(5)
        job.check()
    assert read_job(job_id).state == "cancelled"


def test_lost_messages_are_sent_again_and_fresh_ones_are_not(project_id: int, queue: InlineQueue) -> None:
    never = make_job(project_id)
    old = make_job(project_id, sent_at=utc_now() - timedelta(seconds=2 * sending.RESEND_AFTER_S))
    fresh = make_job(project_id, sent_at=utc_now())
    reaper.reap()
    assert {argument for _, argument, _ in queue.sent} == {str(never), str(old)}
    assert read_job(never).sent_at is not None
    queue.sent.clear()
    reaper.reap()
    assert queue.sent == []
    reaper.reap(is_fresh_worker=True)
    assert {argument for _, argument, _ in queue.sent} == {str(never), str(old), str(fresh)}


def test_this_process_is_alive_and_a_number_that_was_given_anew_is_not() -> None:
    now = utc_now()
    assert not processes.is_gone(os.getpid(), processes.host_id(), last_seen_at=now)
    long_before_us = now - timedelta(days=365)
    assert processes.is_gone(os.getpid(), processes.host_id(), last_seen_at=long_before_us)
    assert processes.is_gone(2**22 - 1, processes.host_id(), last_seen_at=now)
    assert not processes.is_gone(2**22 - 1, "another host", last_seen_at=now)


def test_a_process_that_does_not_stop_is_ended(project_id: int, queue: InlineQueue, impatient: None) -> None:
    ignores_term = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", ignores_term], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        job_id = make_job(project_id, state="cancelling", claim_token="t", worker_host=processes.host_id())
        long_ago = utc_now() - timedelta(seconds=1)
        set_job(job_id, worker_pid=process.pid, stop_asked_at=long_ago, heartbeat_at=utc_now())
        reaper.reap()
        assert read_job(job_id).state == "cancelling"  # asked politely, with time to obey
        assert process.poll() is None
        set_job(job_id, stop_asked_at=utc_now() - timedelta(seconds=60), heartbeat_at=utc_now())
        reaper.reap()
        assert process.wait(10) == -signal.SIGKILL
    assert read_job(job_id).state == "cancelled"


def test_tidying_removes_what_expired_and_keeps_what_is_needed(project_id: int, queue: InlineQueue) -> None:
    running, ended = make_job(project_id, state="running"), make_job(project_id, state="failed")
    for job_id in (running, ended):
        (workdirs.root() / str(job_id)).mkdir(parents=True)
    with transaction() as session:
        user_id = session.scalars(select(User.id)).one()
        now = utc_now()
        for name, expires_at in (("old", now - timedelta(days=1)), ("new", now + timedelta(days=1))):
            session.add(UserSession(token_hash=name, user_id=user_id, expires_at=expires_at))
    add_images(read_project(project_id), {"good": 1})
    with transaction() as session:
        session.execute(update(Image).values(uploaded_at=utc_now() - timedelta(hours=1)))
    tidying.tidy()
    assert workdirs.list_job_ids() == [running]
    with new_session() as session:
        assert session.scalars(select(UserSession.token_hash)).all() == ["new"]
    assert queue.sent == [("images.thumbnails", str(project_id), "cpu")]
    workdirs.remove(running)


def read_project(project_id: int) -> Project:
    with new_session() as session:
        return session.get(Project, project_id)
