"""The command line as an administrator uses it, and the roles started one by one."""

import os
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import psutil
import pytest

from app.settings import ROOT
from app.supervisor.private_redis import find_program

# They work on a home of their own.
pytestmark = [pytest.mark.timeout(240), pytest.mark.slow, pytest.mark.one_database]


def environment(home: Path, **settings: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KIZU_")}
    return clean | {"KIZU_HOME": str(home), "PYTHONPATH": str(ROOT)} | settings


def kizu(home: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "app.cli", *arguments],
        env=environment(home, **settings),
        cwd=home.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def test_people_and_keys_from_the_command_line(tmp_path: Path) -> None:
    home = tmp_path / "home"
    early = kizu(home, "key", "create", "--name", "line 1")
    assert early.returncode == 1
    assert "kizu up" in early.stderr
    assert "Traceback" not in early.stderr

    first = kizu(home, "migrate")
    assert "password  " in first.stdout
    assert "password  " not in kizu(home, "migrate").stdout

    key = kizu(home, "key", "create", "--name", "line 1").stdout.strip()
    assert key.startswith("land_sk_")
    password = kizu(home, "user", "add", "lena@example.com", "--name", "Lena", "--role", "labeler").stdout.strip()
    assert len(password) >= 12
    again = kizu(home, "user", "add", "lena@example.com", "--name", "Lena")
    assert again.returncode == 1
    assert "already" in again.stderr
    new = kizu(home, "user", "reset-password", "LENA@example.com").stdout.strip()
    assert new not in {"", password}
    wrong = kizu(home, "user", "add", "x@example.com", "--name", "X", "--role", "king")
    assert "There is no role king" in wrong.stderr
    assert "no account" in kizu(home, "user", "reset-password", "nobody@example.com").stderr


def test_a_backup_unpacked_is_a_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    kizu(home, "migrate")
    (home / "blobs" / "p1").mkdir(parents=True)
    (home / "blobs" / "p1" / "original").write_bytes(b"\x89PNG")
    (home / "cache").mkdir()
    (home / "cache" / "features").write_bytes(b"made again")
    written = kizu(home, "backup").stdout
    archive = next((home / "backups").glob("kizu-*.tar"))
    assert str(archive) in written
    assert archive.stat().st_mode & 0o077 == 0
    assert list((home / "backups").iterdir()) == [archive]

    restored = tmp_path / "restored"
    with tarfile.open(archive) as tar:
        assert {name.split("/")[0] for name in tar.getnames()} == {"kizu.sqlite3", "blobs"}
        tar.extractall(restored, filter="data")
    assert (restored / "blobs" / "p1" / "original").read_bytes() == b"\x89PNG"
    assert kizu(restored, "key", "create", "--name", "after").stdout.startswith("land_sk_")


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [find_program(), "--port", str(port), "--bind", "127.0.0.1", "--requirepass", "secret", "--save", ""]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    yield f"redis://:secret@127.0.0.1:{port}/0"
    process.terminate()
    process.wait()


def status_of(url: str) -> int:
    try:
        with urlopen(Request(url), timeout=5) as answer:
            return answer.status
    except HTTPError as error:
        with error:
            return error.code
    except (URLError, OSError):
        return 0


def wait_for(condition, within_s: float = 60.0) -> None:
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.2)


def test_the_roles_run_apart_and_each_can_be_asked(tmp_path: Path, redis_url: str) -> None:
    home = tmp_path / "home"
    kizu(home, "migrate")
    settings = {"KIZU_REDIS_URL": redis_url, "KIZU_TRUSTED_HOSTS": '["kizu.example.com"]'}
    ports = {}
    started = []
    for role in (["web"], ["predictor"], ["worker", "--queues", "gpu,cpu"], ["beat"]):
        more = []
        if role[0] in {"web", "predictor"}:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                ports[role[0]] = probe.getsockname()[1]
            more = ["--port", str(ports[role[0]])]
        started.append(
            subprocess.Popen(
                [sys.executable, "-P", "-m", "app.cli", *role, *more],
                env=environment(home, **settings),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
    try:
        for role, port in ports.items():
            wait_for(lambda port=port: kizu(home, "health", "--port", str(port), **settings).returncode == 0)
            assert status_of(f"http://127.0.0.1:{port}/healthz") == 400, f"{role} answers strangers' host names"
        for part in ("worker-gpu", "worker-cpu", "scheduler"):
            assert kizu(home, "health", "--part", part, **settings).returncode == 0, part
        everyone = [child for process in started for child in psutil.Process(process.pid).children(recursive=True)]
        for process in started:
            process.send_signal(signal.SIGTERM)
        for process in started:
            process.wait(20)
        wait_for(lambda: not [child for child in everyone if child.is_running()], 10)
        assert kizu(home, "health", "--part", "worker-gpu", **settings).returncode == 1
    finally:
        for process in started:
            process.kill()
            process.wait()
