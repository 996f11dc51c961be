"""A folder for each job's unfinished work, which its next attempt finds again."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from app.settings import get_settings
from worker.runtime.claims import ClaimLost


def root() -> Path:
    return get_settings().cache_dir / "jobs"


@contextmanager
def work_dir(job_id: UUID) -> Iterator[Path]:
    """Give the job's folder. It goes when the block ends; it stays when the process dies or the claim is lost."""
    folder = root() / str(job_id)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    except ClaimLost:
        raise  # another attempt may be at work in it
    except BaseException as error:
        if isinstance(error, Exception):
            remove(job_id)
        raise
    remove(job_id)


def list_job_ids() -> list[UUID]:
    """Return the jobs that left a folder on this machine."""
    if not root().is_dir():
        return []
    return [job_id for path in root().iterdir() if (job_id := _as_uuid(path.name))]


def remove(job_id: UUID) -> None:
    shutil.rmtree(root() / str(job_id), ignore_errors=True)


def _as_uuid(name: str) -> UUID | None:
    try:
        return UUID(name)
    except ValueError:
        return None
