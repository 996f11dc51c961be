"""A running Kizu for commands that need one: the one that is there, else one of their own."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.error import URLError
from urllib.request import urlopen

from app.queue import alive
from app.settings import get_settings
from app.supervisor.private_redis import find_url
from app.supervisor.running import find_address

START_WITHIN_S = 120.0


@dataclass
class Instance:
    """Where Kizu answers, and the process of it that is ours, if any."""

    address: str
    process: "subprocess.Popen[bytes] | None" = None

    def stay(self) -> None:
        """Keep our own Kizu running until Ctrl-C; return at once where it is not ours."""
        if self.process is not None:
            print("Kizu goes on running here. Ctrl-C stops it.", flush=True)
            self.process.wait()


@contextmanager
def running_instance(*, host: str | None, port: int | None) -> Iterator[Instance]:
    """Give the Kizu that runs on this home; where none does, start one and stop it at the end.

    With a Redis or a database of the settings (the production profile) nothing is started: the roles run elsewhere.

    Raises:
        SystemExit: The new one does not come up.
    """
    settings = get_settings()
    if settings.database_url and settings.redis_url:
        yield Instance((settings.public_url or f"http://127.0.0.1:{settings.port}").rstrip("/"))
        return
    address = find_address(settings.run_dir)
    if address:
        yield Instance(settings.public_url or address)
        return
    command = [sys.executable, "-P", "-m", "app.cli", "up"]
    command += ["--host", host] if host else []
    command += ["--port", str(port)] if port is not None else []
    # In a session of its own, for Ctrl-C is to end the command first; it stops Kizu in turn.
    process = subprocess.Popen(command, start_new_session=True)
    try:
        address = _wait_until_healthy(process)
        os.environ["KIZU_REDIS_URL"] = find_url(settings.run_dir) or ""
        get_settings.cache_clear()
        alive.client.cache_clear()
        yield Instance(settings.public_url or address, process)
    except KeyboardInterrupt:
        pass
    finally:
        process.terminate()
        with suppress(KeyboardInterrupt):
            process.wait()


def _wait_until_healthy(process: "subprocess.Popen[bytes]") -> str:
    until = time.monotonic() + START_WITHIN_S
    while time.monotonic() < until:
        if process.poll() is not None:
            raise SystemExit("Kizu did not start; the reason is above.")
        address = find_address(get_settings().run_dir)
        with suppress(URLError, OSError):
            if address and urlopen(f"{address}/healthz", timeout=5).status == 200:  # noqa: S310 - our own address
                return address
        time.sleep(0.2)
    raise SystemExit("Kizu did not become ready in time; the logs under KIZU_HOME say why.")
