"""`python -m app.supervisor CONFIG`: what `kizu up` becomes."""

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from app.supervisor import children, private_redis, schema
from app.supervisor.config import SupervisorConfig
from app.supervisor.running import LOCK_NAME
from app.supervisor.supervisor import Supervisor, listen, say, start_redis


def main() -> None:
    """Run an installation until it is asked to stop."""
    started_at = time.monotonic()
    config = SupervisorConfig.from_json(sys.argv[1])
    run_dir = Path(config.home) / "run"
    run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = take_lock(run_dir / LOCK_NAME, config)
    listener = listen_or_exit(config)
    address = web_address(config.host, listener.getsockname()[1])
    note_address(lock, address)
    supervisor = Supervisor(config, listener, lambda: say(f"Kizu is ready: {address}  (Ctrl-C stops it)"))
    supervisor.catch_signals()
    redis = None
    try:
        if config.redis_url is None:
            redis = plan_redis(run_dir)
            start_redis(supervisor, redis)
        prepare(config, redis.url if redis else config.redis_url)
        say(f"Starting Kizu on {address} ...")
        listener.set_inheritable(False)
        for spec in children.own_specs(
            config, redis_url=redis.url if redis else config.redis_url, listen_fd=listener.fileno()
        ):
            if not supervisor.stop_asked:
                supervisor.start(spec)
        supervisor.run()
        say("\nStopping ...")
    finally:
        stopping_at = time.monotonic()
        supervisor.stop()
        if redis:
            private_redis.remove_leftovers(run_dir)
        lock.truncate(0)
    say(f"Stopped in {time.monotonic() - stopping_at:.1f} s after {time.monotonic() - started_at:.0f} s.")


def take_lock(path: Path, config: SupervisorConfig) -> IO[str]:
    """Return the open, locked file that says that this home is in use; it is ours until the process ends.

    Raises:
        SystemExit: Another Kizu holds it.
    """
    lock = path.open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        sys.exit(f"Kizu already runs on {config.home}: {describe_holder(lock.read())}")
    return lock


def describe_holder(text: str) -> str:
    try:
        holder = json.loads(text)
        return f"{holder['address']} (process {holder['pid']})"
    except (ValueError, KeyError):
        return "it is just starting or stopping."


def note_address(lock: IO[str], address: str) -> None:
    lock.seek(0)
    lock.truncate(0)
    json.dump({"pid": os.getpid(), "address": address}, lock)
    lock.flush()


def listen_or_exit(config: SupervisorConfig) -> socket.socket:
    """Take the port before anything else is started.

    Raises:
        SystemExit: With what to do about it.
    """
    try:
        return listen(config.host, config.port)
    except PermissionError:
        sys.exit(f"Port {config.port} needs more rights than this user has. Choose one above 1023 with --port.")
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            sys.exit(
                f"Port {config.port} is taken by another program. Choose another: ./kizu up --port {config.port + 1}"
            )
        sys.exit(f"Kizu cannot listen on {config.host}, port {config.port}: {error.strerror or error}")


def plan_redis(run_dir: Path) -> private_redis.PrivateRedis:
    try:
        return private_redis.plan(run_dir)
    except private_redis.NoRedisServer:
        sys.exit("There is no Redis server: install the package redis-server, or name one with KIZU_REDIS_URL.")


def prepare(config: SupervisorConfig, redis_url: str | None) -> None:
    """Migrate the database and create the first administrator, in a process of its own that gives its memory back.

    Raises:
        SystemExit: It failed; the reason has been printed.
    """
    if config.sqlite_path and schema.is_prepared(Path(config.sqlite_path)):
        return
    env = children.environment(config, redis_url)
    if "KIZU_ADMIN_PASSWORD" in os.environ:
        env["KIZU_ADMIN_PASSWORD"] = os.environ["KIZU_ADMIN_PASSWORD"]
    if subprocess.run(children.command("migrate"), env=env, check=False).returncode:
        sys.exit("The database could not be prepared; nothing was started.")


def web_address(host: str, port: int) -> str:
    """Return the address to open in a browser on this machine."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104 - a comparison
    return f"http://{shown}:{port}"


if __name__ == "__main__":
    main()
