"""As much of STOMP 1.2 as one request to Artemis' management takes; STOMP, because it needs no AMQP client."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping

from .errors import BrokerError


class Stomp:
    """A connection; usable with `with`."""

    def __init__(self, host: str, port: int, user: str, password: str, timeout: float = 30) -> None:
        self._deadline = time.monotonic() + timeout
        self._socket = socket.create_connection((host, port), timeout)
        self._received = b""
        try:
            self.send("CONNECT", {"accept-version": "1.2", "host": host, "login": user, "passcode": password})
            self.receive("CONNECTED")
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Stomp:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, command: str, headers: Mapping[str, str], body: str = "") -> None:
        lines = [command, *(f"{name}:{_escaped(value, command)}" for name, value in headers.items()), "", body]
        self._socket.sendall("\n".join(lines).encode() + b"\0")

    def receive(self, command: str) -> tuple[dict[str, str], str]:
        """The headers and the body of the next frame, which has to be a `command`."""
        while b"\0" not in self._received:
            self._socket.settimeout(max(0.01, self._deadline - time.monotonic()))
            data = self._socket.recv(65536)
            if not data:
                raise BrokerError("the broker closed its STOMP connection")
            self._received += data
        frame, _, self._received = self._received.partition(b"\0")
        head, _, body = frame.decode().lstrip("\r\n").partition("\n\n")
        found, *lines = head.split("\n")
        if found != command:
            raise BrokerError(f"STOMP {found} instead of {command}: {head} {body}")
        return dict(line.split(":", 1) for line in lines), body


def _escaped(value: str, command: str) -> str:
    if command == "CONNECT":
        return value
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace(":", "\\c")
