"""Messages through Celery, by name: the web side does not import the tasks."""

from functools import lru_cache

from celery import Celery
from kombu.exceptions import OperationalError

from app.core.errors import Unavailable
from app.queue.broker import celery_settings


@lru_cache
def _client() -> Celery:
    client = Celery("kizu")
    client.conf.update(celery_settings())
    return client


class CeleryQueue:
    """The real queue."""

    def send(self, task: str, argument: str, *, queue: str) -> None:
        try:
            _client().send_task(task, args=[argument], queue=queue, ignore_result=True, retry=False)
        except (OperationalError, ConnectionError, TimeoutError) as error:
            raise Unavailable("The job queue cannot be reached. The job is kept and starts by itself.") from error
