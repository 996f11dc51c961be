"""Logging of every process: lines on standard error, which the supervisor or the container collects."""

import logging
import sys

from app.settings import get_settings

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# They say on `info` what concerns nobody: each connection, each task's life, each request of a client library.
_CHATTY = ("httpx", "httpcore", "alembic.runtime", "celery.beat", "celery.worker.strategy", "celery.app.trace")


def configure_logging() -> None:
    """Log at the level of the settings; called once by each command."""
    level = get_settings().log_level.upper()
    logging.basicConfig(level=level, format=FORMAT, stream=sys.stderr, force=True)
    if level != "DEBUG":
        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.WARNING)
