"""Free loopback ports, and waiting until a broker speaks AMQP on one."""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

from .errors import BrokerError

LOOPBACK = "127.0.0.1"

SASL_HEADER = b"AMQP\x03\x01\x00\x00"


def free_ports(count: int) -> list[int]:
    """`count` different ports that nobody listens on.

    They lie outside the range from which the system takes the ports of outgoing connections. Inside it, a client
    that keeps trying to reach a stopped broker can get the broker's own port as its source port: it then connects
    to itself, and the broker cannot start again.
    """
    low, high = _outgoing_range()
    pool = list(range(max(10_000, low - 15_000), low)) if low >= 20_000 else list(range(high + 1, 65_536))
    random.SystemRandom().shuffle(pool)
    ports: list[int] = []
    for port in pool:
        if _is_free(port):
            ports.append(port)
        if len(ports) == count:
            return ports
    raise BrokerError(f"no {count} free ports were found on {LOOPBACK}")


def _outgoing_range() -> tuple[int, int]:
    try:
        low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    except OSError:
        return 32_768, 60_999
    return int(low), int(high)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def wait_for_amqp(port: int, *, ca_file: Path | None, deadline: float, alive: Callable[[], bool]) -> None:
    """Wait until the port (a TLS one if `ca_file` is given) answers the SASL protocol header with its own.

    Raises at `deadline` (of time.monotonic()), and at once when `alive` says that the broker has ended.
    """
    context = ssl.create_default_context(cafile=str(ca_file)) if ca_file else None
    problem: object = "not tried"
    while time.monotonic() < deadline:
        if not alive():
            raise BrokerError("it ended while starting")
        try:
            answer = _exchange_headers(port, context)
            if answer == SASL_HEADER:
                return
            problem = f"the answer to the AMQP header was {answer!r}"
        except OSError as error:
            problem = error
        time.sleep(0.05)
    raise BrokerError(f"no AMQP on port {port} in time: {problem}")


def _exchange_headers(port: int, context: ssl.SSLContext | None) -> bytes:
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(socket.create_connection((LOOPBACK, port), timeout=5))
        if context:
            connection = stack.enter_context(context.wrap_socket(connection, server_hostname=LOOPBACK))
        connection.sendall(SASL_HEADER)
        answer = b""
        while len(answer) < len(SASL_HEADER) and (data := connection.recv(len(SASL_HEADER) - len(answer))):
            answer += data
        return answer
