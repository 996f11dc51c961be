"""Trainings."""

from uuid import UUID

from celery import Task

from worker.celery_app import celery


@celery.task(name="jobs.train", bind=True, ignore_result=True)
def train(self: Task, job_id: str) -> None:
    """Run one training to a terminal state.

    Safe to deliver twice: only the delivery that moves the row from `queued` to `running` gets the job. Every way out
    of `claim` ends the job in exactly one terminal state; a killed process leaves it to the reaper.
    """
    from worker.runtime.claims import claim
    from worker.runtime.processes import end_self, give_memory_back

    # Called as a function (tests, `kizu demo`), the process is not this task's to end.
    with claim(UUID(job_id), on_overdue=None if self.request.called_directly else end_self) as job:
        if job is None:
            return
        from worker.runtime import training  # imports the ML stack: only once there is work

        training.run(job)
    give_memory_back()
