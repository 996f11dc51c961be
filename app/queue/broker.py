"""How every process of an installation speaks to Redis and Celery."""

from typing import Any

from app.settings import get_settings


def redis_url() -> str:
    """Return the URL of Redis for redis-py. The supervisor of an embedded installation sets `KIZU_REDIS_URL`."""
    url = get_settings().redis_url
    return url or f"unix://{get_settings().run_dir / 'redis.sock'}"


def broker_url() -> str:
    """Return the URL of Redis as Celery spells it: a unix socket is `redis+socket://`."""
    url = redis_url()
    return "redis+socket://" + url.removeprefix("unix://") if url.startswith("unix://") else url


def celery_settings() -> dict[str, Any]:
    """Return the Celery settings shared by sender, worker and scheduler.

    Messages are acknowledged when they arrive: with late acknowledgement Redis would deliver a long training a second
    time. What a lost message costs is mended by the reaper, for the row is the truth.
    """
    return {
        "broker_url": broker_url(),
        "accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        "task_acks_late": False,
        "task_default_queue": "cpu",
        "broker_connection_retry_on_startup": True,
        "broker_connection_timeout": 2.0,
        "broker_transport_options": {"socket_connect_timeout": 2.0, "socket_timeout": 30.0},
        "timezone": "UTC",
        "worker_hijack_root_logger": False,
    }
