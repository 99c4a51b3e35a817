"""From the sender to a receiver that is blocked in the API of 1.6, through the embedded broker."""

from __future__ import annotations

from .figures import Figures, Latency
from .process import broker, client_command, printed

FACES = ("blocking", "asynchronous")


def measure_latency(figures: Figures, messages: int) -> None:
    """For both faces of the API, in processes of their own."""
    for face in FACES:
        with figures.measuring(f"latency of {messages:,} messages, {face}"), broker() as url:
            figures.latency.append(Latency(face, printed(client_command("latency", face, url, messages))))
