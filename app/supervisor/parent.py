"""A process that ends with its parent, even when the parent is killed outright."""

import ctypes
import os
import signal
import sys
import threading
import time

PR_SET_PDEATHSIG = 1  # linux/prctl.h

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(*_args: object, **_kwargs: object) -> None:
    """Ask for SIGKILL when the thread that started this process ends.

    On Linux the kernel does it, and the wish survives `exec` but not `fork`: each generation asks for itself. Elsewhere
    a thread looks once a second. Takes any arguments, so that it can be a Celery signal's receiver.
    """
    parent = os.getppid()
    if _libc is None:
        threading.Thread(target=_watch, args=(parent,), name="parent-watch", daemon=True).start()
        return
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)  # the parent ended before the kernel was asked


def prepare_child(parent: int) -> None:
    """Run between fork and exec of a child of process `parent`: it dies with it, and has every signal unblocked."""
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGKILL)
