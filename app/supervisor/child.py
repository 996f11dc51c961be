"""One supervised process: started, watched, started again when it ends, stopped with all that it started."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import IO

from app.supervisor.logs import ChildLog
from app.supervisor.parent import prepare_child

FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 30.0
STEADY_AFTER_S = 30.0  # a child that ran this long starts again without delay


@dataclass(frozen=True)
class ChildSpec:
    """What to run.

    Attributes:
        name: Shown on the console; names the log file.
        argv: Program and arguments.
        env: The whole environment.
        stdin: Bytes that the program reads at its start.
        pass_fds: File descriptors that it inherits.
        stop_signals: Sent in this order, each after the one before had its time; SIGKILL comes last by itself.
    """

    name: str
    argv: Sequence[str]
    env: dict[str, str] = field(repr=False)
    stdin: bytes | None = field(default=None, repr=False)
    pass_fds: tuple[int, ...] = ()
    stop_signals: tuple[signal.Signals, ...] = (signal.SIGTERM,)


class Child:
    """A `ChildSpec` in operation. It leads a session of its own, so a Ctrl-C in the terminal reaches only us."""

    def __init__(self, spec: ChildSpec, log: ChildLog) -> None:
        self.spec = spec
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self.restart_at: float | None = None
        self.n_quick_ends = 0
        self._started_at = 0.0
        self._delay_s = 0.0

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def output(self) -> IO[bytes]:
        assert self.process is not None
        assert self.process.stdout is not None
        return self.process.stdout

    def start(self) -> None:
        """Start the process. Must be called from the main thread, which is the parent it dies with."""
        self.restart_at = None
        self._started_at = time.monotonic()
        self.process = subprocess.Popen(
            self.spec.argv,
            env=self.spec.env,
            stdin=subprocess.DEVNULL if self.spec.stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=self.spec.pass_fds,
            preexec_fn=partial(prepare_child, os.getpid()),  # noqa: PLW1509 - the supervisor has no second thread
        )
        os.set_blocking(self.output.fileno(), False)
        if self.spec.stdin is not None:
            assert self.process.stdin is not None
            with contextlib.suppress(BrokenPipeError), self.process.stdin as stdin:
                stdin.write(self.spec.stdin)

    def read(self) -> bool:
        """Move what the process wrote to its log; return False once it has closed its output."""
        try:
            data = self.output.read(65536)
        except ValueError:  # closed by us meanwhile
            return False
        if data:
            self.log.write(data)
        return data is None or bool(data)

    def plan_restart(self) -> float:
        """Set the time of the next start, later after each quick end; return the delay in seconds."""
        steady = time.monotonic() - self._started_at > STEADY_AFTER_S
        self.n_quick_ends = 1 if steady else self.n_quick_ends + 1
        self._delay_s = FIRST_DELAY_S if steady or not self._delay_s else min(self._delay_s * 2, LONGEST_DELAY_S)
        self.log.is_muted = self.n_quick_ends > 1  # the console has heard it once; the file has it all
        self.restart_at = time.monotonic() + self._delay_s
        return self._delay_s

    def signal(self, which: signal.Signals) -> None:
        if self.is_running:
            assert self.process is not None
            self.process.send_signal(which)

    def kill_group(self) -> None:
        """End whatever the process left behind in its session's group, and the process itself."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def describe_end(self) -> str:
        """Return how the process ended, for people."""
        assert self.process is not None
        code = self.process.returncode
        if code is not None and code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"
