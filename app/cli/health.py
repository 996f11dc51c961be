"""Health as a container's check asks for it."""

import http.client

from app.cli.processes import trusted_host
from app.settings import get_settings


def is_healthy(part: str | None, port: int | None) -> bool:
    """Tell whether the web process here answers `GET /healthz` with 200, or `part` gave a sign of life in Redis."""
    if part is not None:
        import redis

        from app.queue import alive

        try:
            return part in alive.find_alive([part])
        except redis.RedisError:
            return False
    settings = get_settings()
    connection = http.client.HTTPConnection("127.0.0.1", port or settings.port, timeout=5)
    try:
        connection.request("GET", "/healthz", headers={"Host": trusted_host(settings.trusted_hosts)})
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
