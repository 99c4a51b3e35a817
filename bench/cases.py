"""What is measured: each case is the same work for every client."""

from __future__ import annotations

from dataclasses import dataclass

MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        operation: what the client is told to do.
        address: the target or source at the counterpart.
        size: bytes of each body.
        tls: whether it is done over TLS.
        count: messages of one measurement; None: so many that it takes long enough to be measured.
        first_count: how many the calibration begins with.
        in_bytes: whether the figure is bytes, not messages, per second.
    """

    name: str
    operation: str
    address: str
    size: int
    tls: bool = False
    count: int | None = None
    first_count: int = 1000
    in_bytes: bool = False

    def rate(self, count: int, seconds: float) -> float:
        """The figure: messages, or bytes, per second."""
        return count * (self.size if self.in_bytes else 1) / seconds

    def tally(self, count: int) -> int:
        """What a client answers that did the work: see `clients/python/task.py`."""
        if self.operation == "receive-rich":
            return RICH_TALLY + self.size
        return self.size if self.operation == "receive" else count


#: Of the rich message of the counterpart: its texts, its time, and its application properties.
RICH_TALLY = (18 + 16 + 13 + 17 + 22 + 24) + 1700 + (11 + 123456 + 1)

CASES = {
    case.name: case
    for case in (
        Case("send-100", "send", "sink", 100),
        Case("receive-100", "receive", "plain-100", 100),
        Case("send-1k", "send", "sink", 1024),
        Case("receive-rich", "receive-rich", "rich-1024", 1024),
        Case("send-one", "send-one", "sink", 100, first_count=100),
        Case("large-out", "send", "sink", 64 * MEBIBYTE, count=1, in_bytes=True),
        Case("large-in", "receive", f"plain-{64 * MEBIBYTE}", 64 * MEBIBYTE, count=1, in_bytes=True),
        Case("send-100-tls", "send", "sink", 100, tls=True),
        Case("receive-100-tls", "receive", "plain-100", 100, tls=True),
    )
}
