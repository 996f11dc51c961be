"""Ask our own web process how it is, without ever waiting for the answer."""

import contextlib
import json
import socket
from typing import Any


class HealthProbe:
    """One `GET /healthz` in flight at a time."""

    def __init__(self, host: str, port: int, host_header: str) -> None:
        self._address = (host, port)
        self._host_header = host_header
        self._socket: socket.socket | None = None
        self._answer = b""

    def ask(self) -> socket.socket | None:
        """Send a request unless one is open; return the socket to watch, or None where nothing new was opened."""
        if self._socket is not None:
            return None
        try:
            self._socket = socket.create_connection(self._address, timeout=1.0)
            self._socket.sendall(
                f"GET /healthz HTTP/1.1\r\nHost: {self._host_header}\r\nConnection: close\r\n\r\n".encode()
            )
            self._socket.setblocking(False)
        except OSError:
            self.close()
            return None
        self._answer = b""
        return self._socket

    def take(self) -> tuple[bool, dict[str, Any]] | None:
        """Read what has come; return (healthy, parts) once the answer is whole, None while it is not."""
        assert self._socket is not None
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        self._answer += data
        if data:
            return None
        self.close()
        head, _, body = self._answer.partition(b"\r\n\r\n")
        try:
            parts = json.loads(body).get("parts", {})
        except (ValueError, AttributeError):
            parts = {}
        return head.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")), parts

    def close(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
        self._socket = None
