"""Signs of life in Redis: each worker and the scheduler renew a key that expires by itself."""

import logging
from functools import lru_cache

import redis

from app.queue.broker import redis_url

log = logging.getLogger(__name__)

RENEW_EVERY_S = 3.0
EXPIRES_AFTER_S = 12
_ANSWER_WITHIN_S = 1.0


@lru_cache
def client() -> redis.Redis:
    """Return this process's connection to Redis, which gives up quickly: health must not hang."""
    return redis.Redis.from_url(
        redis_url(), socket_timeout=_ANSWER_WITHIN_S, socket_connect_timeout=_ANSWER_WITHIN_S, decode_responses=True
    )


def renew(parts: list[str]) -> None:
    """Say that `parts` are alive; a Redis that does not answer is no reason to stop working."""
    try:
        with client().pipeline(transaction=False) as pipeline:
            for part in parts:
                pipeline.set(_key(part), 1, ex=EXPIRES_AFTER_S)
            pipeline.execute()
    except redis.RedisError as error:
        log.info("sign of life not stored: %s", error)


def withdraw(parts: list[str]) -> None:
    """Say that `parts` end now, so that nobody waits for the keys to expire."""
    try:
        client().delete(*map(_key, parts))
    except redis.RedisError as error:
        log.info("sign of life not withdrawn: %s", error)


def find_alive(parts: list[str]) -> set[str]:
    """Return those of `parts` that gave a sign of life within the last seconds.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    values = client().mget([_key(part) for part in parts])
    return {part for part, value in zip(parts, values, strict=True) if value is not None}


def _key(part: str) -> str:
    return f"kizu:alive:{part}"
