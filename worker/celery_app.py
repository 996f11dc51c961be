"""The Celery application of the workers and of the scheduler."""

import contextlib
import sys
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from billiard.exceptions import WorkerLostError
from celery import Celery, bootsteps
from celery.beat import Scheduler
from celery.signals import task_failure, worker_process_init
from kombu.exceptions import OperationalError

import worker.tasks
from app.queue import alive
from app.queue.broker import celery_settings
from app.supervisor.parent import die_with_parent

REAP_EVERY_S = 10.0
TIDY_EVERY_S = 3600.0

celery = Celery("kizu")
celery.conf.update(celery_settings())
celery.conf.update(
    # One message at a time: a training must not hold the next one back while another worker is free.
    worker_prefetch_multiplier=1,
    worker_send_task_events=False,
    worker_enable_remote_control=True,  # the reaper revokes what does not stop by itself
    # A reaper's message is of no use once the next one is due.
    beat_schedule={
        "reap": {
            "task": "jobs.reap",
            "schedule": REAP_EVERY_S,
            "options": {"queue": "cpu", "expires": REAP_EVERY_S},
        },
        "tidy": {"task": "maintenance.tidy", "schedule": TIDY_EVERY_S, "options": {"queue": "cpu"}},
    },
)


def load_tasks() -> Celery:
    """Import every module of `worker.tasks`, so that its tasks are registered; return the application.

    These modules import numpy, Pillow, OpenVINO and torch inside their functions: five processes import them, and an
    idle installation is to fit into 600 MB.
    """
    for module in iter_modules(worker.tasks.__path__, prefix="worker.tasks."):
        import_module(module.name)
    return celery


class SignOfLife(bootsteps.StartStopStep):
    """Renews this worker's keys from its own event loop: a worker that hangs falls silent."""

    requires = {"celery.worker.consumer.tasks:Tasks"}

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self._timer: Any = None

    def start(self, parent: Any) -> None:
        """Begin when the consumer can take messages, again after each lost connection."""
        alive.renew(self._parts(parent))
        self._timer = parent.timer.call_repeatedly(alive.RENEW_EVERY_S, alive.renew, (self._parts(parent),))
        ask_reaper(parent.app, is_fresh_worker=True)

    def stop(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def shutdown(self, parent: Any) -> None:
        self.stop(parent)
        alive.withdraw(self._parts(parent))

    @staticmethod
    def _parts(parent: Any) -> list[str]:
        return [f"worker-{name}" for name in parent.app.amqp.queues.consume_from]


def ask_reaper(app: Celery, *, is_fresh_worker: bool) -> None:
    """Have the reaper look now instead of in ten seconds; without a broker it comes by itself."""
    with contextlib.suppress(OperationalError):
        app.send_task(
            "jobs.reap", kwargs={"is_fresh_worker": is_fresh_worker}, queue="cpu", expires=REAP_EVERY_S, retry=False
        )


class SchedulerInside(bootsteps.StartStopStep):
    """Runs the scheduler from the worker's event loop, where there is one worker and no reason for one more process."""

    requires = {"celery.worker.consumer.tasks:Tasks"}

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self._timer: Any = None

    def start(self, parent: Any) -> None:
        """Begin when the consumer can take messages, again after each lost connection."""
        scheduler = LivingScheduler(app=parent.app)
        scheduler.tick()
        self._timer = parent.timer.call_repeatedly(1.0, scheduler.tick)

    def stop(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def shutdown(self, parent: Any) -> None:
        self.stop(parent)
        alive.withdraw(["scheduler"])


celery.steps["consumer"].add(SignOfLife)


class LivingScheduler(Scheduler):
    """Celery's scheduler with its schedule in memory (nothing here outlives a restart) and a sign of life."""

    def tick(self, *args: Any, **kwargs: Any) -> float:
        alive.renew(["scheduler"])
        return min(super().tick(*args, **kwargs), alive.RENEW_EVERY_S)


@task_failure.connect
def _note_lost_process(exception: BaseException | None = None, **_: object) -> None:
    """Tell the reaper, from the worker's main process, that a pool process was killed in the middle of a task."""
    if isinstance(exception, WorkerLostError):
        ask_reaper(celery, is_fresh_worker=False)


@worker_process_init.connect
def _prepare_pool_process(**_: object) -> None:
    """Set up a process that will run tasks: it ends with its worker and shares no connection with it."""
    die_with_parent()
    alive.client.cache_clear()
    if "app.db.session" in sys.modules:  # not imported here: an idle worker is to stay small
        sys.modules["app.db.session"].dispose_engine()
