"""Which process works on a job, and whether it still lives."""

import ctypes
import gc
import os
import signal
import socket
import sys
from datetime import datetime
from functools import lru_cache
from pathlib import Path

import psutil

_CLOCK_SLACK_S = 2.0  # start times are kept in ticks since boot, and the clock may have been set since


@lru_cache
def host_id() -> str:
    """Return a name for the set of processes that share this one's process ids.

    Containers may share a host name but number their processes each for themselves, and a restarted machine begins
    anew: their process ids say nothing to one another.
    """
    return f"{socket.gethostname()}/{_read_link('/proc/self/ns/pid')}/{_read('/proc/sys/kernel/random/boot_id')}"[:200]


def _read_link(path: str) -> str:
    try:
        return str(Path(path).readlink()).removeprefix("pid:[").removesuffix("]")
    except OSError:
        return "-"


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return "-"


def is_gone(pid: int | None, host: str | None, *, last_seen_at: datetime) -> bool:
    """Tell whether the process that gave a sign of life at `last_seen_at` is known to have ended.

    Of another host's processes nothing is known: their silence alone can tell. A process that began after the sign of
    life only inherited the number.
    """
    if pid is None or host != host_id():
        return False
    try:
        process = psutil.Process(pid)
        started_later = process.create_time() > last_seen_at.timestamp() + _CLOCK_SLACK_S
        return started_later or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False


def end(pid: int | None, host: str | None, *, last_seen_at: datetime, signal_number: int) -> bool:
    """Send a signal to a process of this host that still works on a job; return whether there was one."""
    if pid is None or pid == os.getpid() or host != host_id() or is_gone(pid, host, last_seen_at=last_seen_at):
        return False
    try:
        os.kill(pid, signal_number)
    except ProcessLookupError:
        return False
    return True


def end_self() -> None:
    """End this process at once, whatever its other threads do. The pool starts another."""
    os.kill(os.getpid(), signal.SIGKILL)


def give_memory_back() -> None:
    """Return what a finished task no longer uses to the system, and to the GPU: this process may now idle for days."""
    gc.collect()
    if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)
