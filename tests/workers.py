"""Real workers and a real Redis for the integration tests, started and killed at will."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from app.queue import alive
from app.supervisor import private_redis

ROOT = Path(__file__).resolve().parent.parent


def wait_until(condition: Callable[[], object], longest_s: float = 30.0, what: str = "it") -> None:
    """Look five times a second; fail when it takes longer."""
    until = time.monotonic() + longest_s
    while not condition():
        assert time.monotonic() < until, f"{what} did not happen within {longest_s:g} s"
        time.sleep(0.2)


@dataclass
class Backstage:
    """Redis and the workers of one test run; `env` is what they see besides the tests' own environment."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.redis = private_redis.plan(self.folder)

    def start_redis(self) -> None:
        """Start an empty Redis at the same address as before."""
        self.redis.socket_path.unlink(missing_ok=True)
        process = subprocess.Popen(
            [self.redis.program, "-"], stdin=subprocess.PIPE, stdout=self._log("redis"), stderr=subprocess.STDOUT
        )
        assert process.stdin is not None
        process.stdin.write(self.redis.config())
        process.stdin.close()
        self.processes["redis"] = process
        wait_until(self.redis.socket_path.exists, 10, "the start of Redis")

    def start_worker(self, queue: str, *, wait: bool = True) -> None:
        """Start the worker of a queue; the one of `cpu` holds the scheduler too."""
        command = [sys.executable, "-P", "-m", "worker", "run", "--queue", queue, "--slots", "1"]
        if queue == "cpu":
            command.append("--with-scheduler")
        self.processes[queue] = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | self.env, stdout=self._log(queue), stderr=subprocess.STDOUT
        )
        if wait:
            part = f"worker-{queue}"
            wait_until(lambda: part in alive.find_alive([part]), 60, f"the start of the {queue} worker")

    def pool_pid(self, queue: str = "gpu") -> int:
        """Return the process that runs the tasks of a queue with one slot."""
        return psutil.Process(self.processes[queue].pid).children()[0].pid

    def kill(self, name: str) -> None:
        """Kill a process outright, as a power cut would."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        if name != "redis":
            alive.withdraw([f"worker-{name}"])

    def stop(self) -> None:
        """Stop everything, the workers first."""
        for name in sorted(self.processes, key=lambda name: name == "redis"):
            process = self.processes[name]
            process.terminate()
            try:
                process.wait(8)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(8)
        self.processes.clear()
        self.redis.remove()

    def logs(self) -> str:
        """Return the last lines that every process wrote."""
        parts = []
        for path in sorted(self.folder.glob("*.log")):
            with contextlib.suppress(OSError):
                parts.append(f"--- {path.name}\n{path.read_text(errors='replace')[-6000:]}")
        return "\n".join(parts)

    def _log(self, name: str) -> int:
        return os.open(self.folder / f"{name}.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
