"""Regular care: jobs that lost their worker, leftovers that nobody needs."""

from worker.celery_app import celery


@celery.task(name="jobs.reap", ignore_result=True)
def reap(is_fresh_worker: bool = False) -> None:
    """Bring back jobs whose worker died and send lost messages again. Safe to run twice at once."""
    from worker.runtime import reaper

    reaper.reap(is_fresh_worker=is_fresh_worker)


@celery.task(name="maintenance.tidy", ignore_result=True)
def tidy() -> None:
    """Remove what has expired. Safe to run twice at once."""
    from worker.runtime import tidying

    tidying.tidy()
