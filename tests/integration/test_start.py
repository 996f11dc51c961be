"""`./kizu up` as a person runs it: real processes, a real Redis, signals."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import psutil
import pytest

from app.settings import ROOT
from app.supervisor.private_redis import LONGEST_SOCKET_PATH

START_WITHIN_S = 60.0
STOP_WITHIN_S = 15.0

# `kizu up` is the embedded profile: it has a home of its own.
pytestmark = [pytest.mark.timeout(240), pytest.mark.slow, pytest.mark.one_database]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Kizu:
    """One `./kizu up` on a home of its own."""

    def __init__(self, home: Path, *, port: int | None = None, **settings: str) -> None:
        self.home = home
        self.port = port or free_port()
        self.output_path = home.parent / f"output-{time.monotonic_ns()}.txt"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("KIZU_")}
        self.started_at = time.monotonic()
        with self.output_path.open("wb") as output:
            self.process = subprocess.Popen(
                [ROOT / "kizu", "up", "--port", str(self.port)],
                env=clean | {"KIZU_HOME": str(home), "KIZU_PREPARE_BACKBONES": "false"} | settings,
                cwd=home.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.seen: set[psutil.Process] = set()

    @property
    def output(self) -> str:
        return self.output_path.read_text()

    def health(self) -> tuple[int, dict[str, dict[str, bool]]]:
        """Return status and parts; (0, {}) where nothing answers."""
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=5) as answer:
                return answer.status, json.load(answer)["parts"]
        except HTTPError as error:
            with error:
                return error.code, json.load(error)["parts"]
        except (URLError, OSError):
            return 0, {}

    def wait_until_healthy(self) -> float:
        """Wait for `GET /healthz` to answer 200; return the seconds since the start."""
        while time.monotonic() - self.started_at < START_WITHIN_S:
            assert self.process.poll() is None, self.output
            if self.health()[0] == 200:
                self.processes()
                return time.monotonic() - self.started_at
            time.sleep(0.05)
        pytest.fail(f"not healthy: {self.health()}\n{self.output}")

    def processes(self) -> list[psutil.Process]:
        """Return the supervisor and all below it; they are remembered for `living`."""
        try:
            me = psutil.Process(self.process.pid)
            found = [me, *me.children(recursive=True)]
        except psutil.NoSuchProcess:
            found = []
        self.seen.update(found)
        return found

    def child(self, *words: str) -> psutil.Process:
        """Return the direct child of the supervisor whose command line holds all of `words`."""
        for child in psutil.Process(self.process.pid).children():
            line = " ".join(child.cmdline())
            if all(word in line for word in words):
                return child
        pytest.fail(f"no child with {words}: {self.output}")

    def living(self) -> list[psutil.Process]:
        """Return the processes seen so far that still run."""
        return [process for process in self.seen if is_living(process)]

    def stop(self, which: signal.Signals = signal.SIGINT) -> int:
        self.processes()
        self.process.send_signal(which)
        return self.process.wait(STOP_WITHIN_S)

    def kill_all(self) -> None:
        self.processes()
        for process in self.living():
            process.kill()
        self.process.wait(5)


def is_living(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(condition, within_s: float = START_WITHIN_S) -> None:
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.1)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[object]:
    """Start any number of Kizus; what still runs at the end is killed."""
    started: list[Kizu] = []

    def start_one(home: Path | None = None, **settings: str) -> Kizu:
        started.append(Kizu(home or tmp_path / "home", **settings))
        return started[-1]

    yield start_one
    for kizu in started:
        kizu.kill_all()


def test_the_first_start_tells_the_password_once_and_ctrl_c_leaves_nothing(start) -> None:
    first = start()
    first_s = first.wait_until_healthy()
    assert first.output.count("password  ") == 1
    assert "admin@example.com" in first.output
    wait_until(lambda: "Kizu is ready" in first.output, 10)
    assert first.stop() == 0
    assert first.living() == []
    assert not (first.home / "run" / "redis.json").exists()

    second = start()
    second_s = second.wait_until_healthy()
    assert "password" not in second.output
    print(f"\nfirst start {first_s:.1f} s, second start {second_s:.1f} s until /healthz answered 200")
    assert second.stop(signal.SIGTERM) == 0
    assert second.living() == []


def test_a_given_password_is_not_printed_and_signs_in(start) -> None:
    kizu = start(KIZU_ADMIN_EMAIL="Chief@Factory.example", KIZU_ADMIN_PASSWORD="a-password-of-my-own")
    kizu.wait_until_healthy()
    assert "a-password-of-my-own" not in kizu.output
    for process in kizu.processes()[1:]:
        assert "KIZU_ADMIN_PASSWORD" not in process.environ()


def test_whatever_dies_is_started_again(start) -> None:
    kizu = start()
    kizu.wait_until_healthy()
    for words in [("worker", "--queue", "gpu"), ("worker", "--queue", "cpu"), ("redis-server",), ("app.cli", "web")]:
        victim = kizu.child(*words)
        victim.kill()
        wait_until(lambda victim=victim: not is_living(victim), 5)
        wait_until(lambda words=words, victim=victim: kizu.child(*words) != victim if _has(kizu, words) else False)
        wait_until(lambda: kizu.health()[0] == 200)
    assert kizu.output.count("was ended by SIGKILL") == 4
    assert kizu.stop() == 0
    assert kizu.living() == []


def _has(kizu: Kizu, words: tuple[str, ...]) -> bool:
    lines = [" ".join(child.cmdline()) for child in psutil.Process(kizu.process.pid).children() if is_living(child)]
    return any(all(word in line for word in words) for line in lines)


def test_health_names_the_part_that_is_down(start) -> None:
    kizu = start()
    kizu.wait_until_healthy()
    worker = kizu.child("worker", "--queue", "gpu")
    worker.suspend()  # it hangs, so nobody starts it again
    wait_until(lambda: kizu.health()[0] == 503)
    assert {name for name, part in kizu.health()[1].items() if not part["ok"]} == {"worker-gpu"}
    worker.resume()
    wait_until(lambda: kizu.health()[0] == 200)


def test_killing_the_supervisor_outright_leaves_nothing(start) -> None:
    kizu = start()
    kizu.wait_until_healthy()
    wait_until(lambda: len(kizu.processes()) >= 8, 20)  # the pool processes of both workers among them
    kizu.stop(signal.SIGKILL)
    wait_until(lambda: kizu.living() == [], 5)
    again = start()
    again.wait_until_healthy()
    assert again.stop() == 0


def test_a_stop_during_the_start_leaves_nothing(start) -> None:
    kizu = start()
    wait_until(lambda: "Starting Kizu" in kizu.output)
    time.sleep(0.3)
    assert kizu.stop(signal.SIGTERM) == 0
    assert kizu.living() == []


def test_a_second_kizu_on_the_same_home_says_where_the_first_is(start) -> None:
    first = start()
    first.wait_until_healthy()
    second = start()
    assert second.process.wait(START_WITHIN_S) == 1
    assert f"already runs on {first.home}: http://127.0.0.1:{first.port}" in second.output
    assert first.health()[0] == 200
    rss = sum(process.memory_info().rss for process in first.processes())
    print(f"\nidle: {rss / 1e6:.0f} MB resident in {len(first.processes())} processes")
    assert rss < 600e6


def test_a_taken_port_is_said_and_nothing_is_started(start) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        kizu = start(port=port)
        assert kizu.process.wait(START_WITHIN_S) == 1
    assert f"Port {port} is taken" in kizu.output
    assert f"--port {port + 1}" in kizu.output


def test_a_home_too_deep_for_a_socket_works(start, tmp_path: Path) -> None:
    home = tmp_path / ("deep" * 20) / ("deeper" * 10)
    home.mkdir(parents=True)
    assert len(str(home)) > LONGEST_SOCKET_PATH
    kizu = start(home)
    kizu.wait_until_healthy()
    folder = Path(json.loads((home / "run" / "redis.json").read_text())["folder"])
    assert folder.stat().st_mode & 0o077 == 0
    assert kizu.stop() == 0
    assert not folder.exists()


def test_a_start_that_cannot_succeed_ends_with_a_reason(start) -> None:
    kizu = start(KIZU_REDIS_URL="redis://127.0.0.1:1/0", KIZU_MAX_UPLOAD_MB="no number")
    assert kizu.process.wait(START_WITHIN_S) == 1
    assert "max_upload_mb" in kizu.output
