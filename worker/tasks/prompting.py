"""Masks from strokes."""

from uuid import UUID

from celery import Task

from worker.celery_app import celery


@celery.task(name="prompts.run", bind=True, ignore_result=True)
def run(self: Task, job_id: str) -> None:
    """Run one job of visual prompting to a terminal state. Safe to deliver twice, as `jobs.train` is."""
    from worker.runtime.claims import claim
    from worker.runtime.processes import end_self, give_memory_back

    with claim(UUID(job_id), on_overdue=None if self.request.called_directly else end_self) as job:
        if job is None:
            return
        from worker.runtime import prompting

        prompting.run(job)
    give_memory_back()
