"""Which processes an installation consists of, and how each is started and stopped."""

import os
import signal
import sys
from pathlib import Path

from app.supervisor.child import ChildSpec
from app.supervisor.config import SupervisorConfig
from app.supervisor.private_redis import PrivateRedis

QUEUES = ("gpu", "cpu")


def command(*arguments: str) -> list[str]:
    """Return the command line of one of our own commands."""
    return [sys.executable, "-P", "-m", "app.cli", *arguments]


def worker_command(queue: str, n_slots: int) -> list[str]:
    """Return the command line of the worker of one queue. By name: `app` does not import `worker`."""
    return [sys.executable, "-P", "-m", "worker", "run", "--queue", queue, "--slots", str(n_slots)]


def beat_command() -> list[str]:
    """Return the command line of the scheduler."""
    return [sys.executable, "-P", "-m", "worker", "beat"]


def environment(config: SupervisorConfig, redis_url: str | None) -> dict[str, str]:
    """Return the environment of our own processes. The administrator's password stays with the one that needs it."""
    env = {name: value for name, value in os.environ.items() if name != "KIZU_ADMIN_PASSWORD"}
    env |= {"KIZU_HOME": config.home, "PYTHONUNBUFFERED": "1"}
    if redis_url:
        env["KIZU_REDIS_URL"] = redis_url
    # Each glibc arena keeps memory of its own; two are enough for processes with few threads.
    env.setdefault("MALLOC_ARENA_MAX", "2")
    return env


def redis_spec(redis: PrivateRedis) -> ChildSpec:
    return ChildSpec(name="redis", argv=[redis.program, "-"], env=dict(os.environ), stdin=redis.config())


def own_specs(config: SupervisorConfig, *, redis_url: str | None, listen_fd: int) -> list[ChildSpec]:
    """Return the processes that are made of our code, in the order of their start."""
    env = environment(config, redis_url)
    # A worker's first signal lets it finish what takes a moment, the second ends it; the job row brings the work back.
    patient = (signal.SIGTERM, signal.SIGQUIT)
    gpu = ChildSpec("worker-gpu", worker_command("gpu", 1), env, stop_signals=patient)
    # The scheduler lives in this worker: on one machine a process of its own would buy nothing for its 60 MB.
    cpu_command = [*worker_command("cpu", config.n_cpu_slots), "--with-scheduler"]
    cpu = ChildSpec("worker-cpu", cpu_command, env, stop_signals=patient)
    web = ChildSpec("web", command("web", "--fd", str(listen_fd)), env, pass_fds=(listen_fd,))
    return [web, cpu, gpu]


def log_dir(config: SupervisorConfig) -> Path:
    return Path(config.home) / "logs"
