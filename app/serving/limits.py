"""How often an endpoint may be called: a token bucket for each, in this process."""

import math
import threading
import time
from collections.abc import Callable
from uuid import UUID

from app.core.errors import RateLimited


class RateLimit:
    """Allows `per_minute` calls a minute for each endpoint, and as many at once after a quiet minute.

    Counted in this process: with several predictor processes each allows that many. Thread-safe.

    Source: token bucket, as described in RFC 2697 (a single-rate meter) with one token a call.
    """

    def __init__(self, per_minute: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[UUID, tuple[float, float]] = {}

    def take(self, endpoint_id: UUID) -> None:
        """Count one call.

        Raises:
            RateLimited: The endpoint is called too often; `Retry-After` says when the next call is allowed.
        """
        if self._per_minute <= 0:
            return
        rate_per_s = self._per_minute / 60
        now = self._clock()
        with self._lock:
            tokens, at = self._buckets.get(endpoint_id, (float(self._per_minute), now))
            tokens = min(float(self._per_minute), tokens + (now - at) * rate_per_s)
            allowed = tokens >= 1
            self._buckets[endpoint_id] = (tokens - 1 if allowed else tokens, now)
        if not allowed:
            raise RateLimited(
                f"This endpoint takes {self._per_minute} calls a minute.",
                retry_after_s=math.ceil((1 - tokens) / rate_per_s),
            )
