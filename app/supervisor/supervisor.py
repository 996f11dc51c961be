"""The supervisor's loop: one thread that waits for output, ends, signals and the time of the next step."""

import contextlib
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from app.supervisor import children, private_redis
from app.supervisor.child import Child, ChildSpec
from app.supervisor.config import SupervisorConfig
from app.supervisor.logs import ChildLog
from app.supervisor.probe import HealthProbe

PROBE_EVERY_S = 0.15
SLOW_START_S = 45.0
ENDS_BEFORE_GIVING_UP = 4  # of one child, in a start that was never ready: it would not become so
STOP_STEP_S = 2.5  # time for each stop signal before the next, harder one


def say(message: str) -> None:
    print(message, flush=True)


class Supervisor:
    """Runs the children until a signal asks it to stop.

    Order of the stop: first everything made of our code at once, then Redis, which they still speak to while they end.
    """

    def __init__(self, config: SupervisorConfig, listener: socket.socket, on_ready: Callable[[], None]) -> None:
        self._config = config
        self._listener = listener
        self._on_ready = on_ready
        self._selector = selectors.DefaultSelector()
        self._children: list[Child] = []
        self._n_signals = 0
        self._is_ready = False
        self._started_at = time.monotonic()
        host, port = listener.getsockname()[:2]
        self._probe = HealthProbe({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port, config.probe_host)  # noqa: S104 - a comparison
        self._next_probe_at = 0.0

    # --- signals -----------------------------------------------------------------------------------------------------

    def catch_signals(self) -> None:
        """Turn SIGINT, SIGTERM and SIGHUP into a stop; a second one makes it immediate."""
        self._wakeup, writer = socket.socketpair()
        self._wakeup.setblocking(False)
        writer.setblocking(False)
        self._wakeup_writer = writer
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        for which in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(which, self._note_signal)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # its byte in the wake-up socket is all we need
        self._selector.register(self._wakeup, selectors.EVENT_READ, None)

    def _note_signal(self, *_: object) -> None:
        self._n_signals += 1

    @property
    def stop_asked(self) -> bool:
        return self._n_signals > 0

    # --- running -----------------------------------------------------------------------------------------------------

    def start(self, spec: ChildSpec) -> Child:
        """Start a child and watch it from now on."""
        log = ChildLog(
            children.log_dir(self._config), spec.name, show_all=self._config.show_all, quiet=spec.name == "redis"
        )
        child = Child(spec, log)
        self._children.append(child)
        self._launch(child)
        return child

    def _launch(self, child: Child) -> None:
        child.start()
        self._selector.register(child.output, selectors.EVENT_READ, child)

    def run(self) -> None:
        """Watch until a signal asks to stop."""
        while not self.stop_asked:
            self.step(PROBE_EVERY_S if not self._is_ready else 5.0)
            self._restart_ended()
            if not self._is_ready:
                self._look_whether_ready()

    def step(self, longest_s: float) -> None:
        """Wait for something to happen, at most `longest_s` or until the next restart is due, and deal with it."""
        due = [child.restart_at for child in self._children if child.restart_at is not None]
        wait_s = max(0.0, min([longest_s, *(at - time.monotonic() for at in due)]))
        for key, _ in self._selector.select(wait_s):
            if key.data is None:
                self._drain_wakeup()
            elif isinstance(key.data, Child):
                if not key.data.read():
                    self._selector.unregister(key.fileobj)
            else:
                self._take_probe(key.fileobj)

    def _drain_wakeup(self) -> None:
        try:
            while self._wakeup.recv(4096):
                pass
        except BlockingIOError:
            pass

    def _restart_ended(self) -> None:
        for child in self._children:
            if child.restart_at is not None:
                if time.monotonic() >= child.restart_at:
                    self._launch(child)
            elif not child.is_running:
                self._close_output(child)
                child.kill_group()  # pool processes of a worker that was killed
                delay_s = child.plan_restart()
                if child.n_quick_ends >= ENDS_BEFORE_GIVING_UP and not self._is_ready:
                    raise SystemExit(f"{child.spec.name} does not start. Its log says why: {child.log.path}")
                say(f"{child.spec.name} {child.describe_end()}; again in {delay_s:g} s. Log: {child.log.path}")

    def _close_output(self, child: Child) -> None:
        if child.output.closed:
            return
        child.read()
        with contextlib.suppress(KeyError):  # its end was seen already
            self._selector.unregister(child.output)
        child.output.close()

    # --- becoming ready ----------------------------------------------------------------------------------------------

    def _look_whether_ready(self) -> None:
        if time.monotonic() < self._next_probe_at:
            return
        self._next_probe_at = time.monotonic() + PROBE_EVERY_S
        opened = self._probe.ask()
        if opened is not None:
            self._selector.register(opened, selectors.EVENT_READ, self._probe)

    def _take_probe(self, watched: object) -> None:
        answer = self._probe.take()
        if answer is None:
            return
        self._selector.unregister(watched)  # type: ignore[arg-type]  # the very object that was registered
        healthy, parts = answer
        if healthy:
            self._is_ready = True
            self._on_ready()
        elif time.monotonic() - self._started_at > SLOW_START_S:
            self._started_at = time.monotonic()
            waiting = ", ".join(name for name, part in parts.items() if not part.get("ok")) or "the web process"
            say(f"Still waiting for: {waiting}. The logs are in {children.log_dir(self._config)}.")

    # --- stopping ----------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Stop every child and whatever it started; returns when nothing of it runs."""
        redis = [child for child in self._children if child.spec.name == "redis"]
        for group in ([child for child in self._children if child not in redis], redis):
            self._stop_group(group)
        self._probe.close()
        for child in self._children:
            child.log.close()

    def _stop_group(self, group: list[Child]) -> None:
        n_signals = self._n_signals
        for round_number in range(max((len(child.spec.stop_signals) for child in group), default=0)):
            for child in group:
                if round_number < len(child.spec.stop_signals):
                    child.signal(child.spec.stop_signals[round_number])
            until = time.monotonic() + STOP_STEP_S
            while time.monotonic() < until and any(child.is_running for child in group):
                self.step(0.1)
                if self._n_signals > max(n_signals, 1):
                    until = 0.0
        for child in group:
            child.restart_at = None
            child.kill_group()
            self._close_output(child)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. It outlives the web process: while that restarts, callers wait instead of failing.

    Raises:
        OSError: The address is taken or not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    return listener


def wait_for_socket(path: Path, child: Child, supervisor: Supervisor, longest_s: float = 10.0) -> bool:
    """Wait until `child` listens on the unix socket; False when it ends, is asked to stop, or takes too long."""
    until = time.monotonic() + longest_s
    while time.monotonic() < until and child.is_running and not supervisor.stop_asked:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            if client.connect_ex(os.fsencode(path)) == 0:
                return True
        supervisor.step(0.02)
    return False


def start_redis(supervisor: Supervisor, redis: private_redis.PrivateRedis) -> None:
    """Start the private Redis and wait until it can be spoken to.

    Raises:
        SystemExit: It does not come up.
    """
    child = supervisor.start(children.redis_spec(redis))
    if not wait_for_socket(redis.socket_path, child, supervisor) and not supervisor.stop_asked:
        sys.exit(f"Redis did not start. Its log: {child.log.path}")
