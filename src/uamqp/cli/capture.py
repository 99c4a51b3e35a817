"""Captures of network traffic: the streams of TCP in a pcap or pcapng file, put in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from ipaddress import ip_address
from struct import Struct, error
from typing import Final

_PCAP: Final = {b"\xd4\xc3\xb2\xa1": "<", b"\x4d\x3c\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">", b"\xa1\xb2\x3c\x4d": ">"}
_PCAPNG: Final = b"\x0a\x0d\x0d\x0a"

#: What comes before the IP packet, by link type: bytes to skip.
_LINK_HEADERS: Final = {0: 4, 1: 14, 12: 0, 101: 0, 108: 4, 113: 16, 228: 0, 229: 0, 276: 20}
_ETHERNET: Final = 1
_VLAN: Final = (0x8100, 0x88A8)
_TCP: Final = 6
_SYN: Final = 0x02
_HALF: Final = 1 << 31


def is_capture(data: bytes) -> bool:
    """Whether these are the bytes of a capture."""
    return data[:4] in _PCAP or data[:4] == _PCAPNG


def segments(data: bytes) -> Iterator[tuple[str, str, bytes]]:
    """What each stream carries, in order: from whom, to whom, bytes. Raises ValueError where it is no capture."""
    streams: dict[tuple[str, str], _Stream] = {}
    try:
        for link_type, packet in _packets(data):
            segment = _segment(link_type, packet)
            if segment is None:
                continue
            ends = segment.source, segment.target
            if segment.syn:
                streams[ends] = _Stream(segment.number + 1)
            stream = streams.setdefault(ends, _Stream(segment.number))
            for piece in stream.take(segment.number + segment.syn, segment.data):
                yield segment.source, segment.target, piece
    except (error, IndexError):
        raise ValueError("the capture ends in the middle, or is damaged") from None


def _packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    return _pcapng(data) if data[:4] == _PCAPNG else _pcap(data)


def _pcap(data: bytes) -> Iterator[tuple[int, bytes]]:
    order = _PCAP[data[:4]]
    (link_type,) = Struct(order + "I").unpack_from(data, 20)
    record = Struct(order + "8xII")
    pos = 24
    while pos + record.size <= len(data):
        size, _ = record.unpack_from(data, pos)
        pos += record.size
        yield link_type & 0xFFFF, data[pos : pos + size]
        pos += size


def _pcapng(data: bytes) -> Iterator[tuple[int, bytes]]:
    order, link_types, pos = "<", list[int](), 0
    while pos + 12 <= len(data):
        if data[pos : pos + 4] == _PCAPNG:
            order = "<" if data[pos + 8 : pos + 12] == b"\x4d\x3c\x2b\x1a" else ">"
            link_types.clear()
        kind, size = Struct(order + "II").unpack_from(data, pos)
        if size < 12:
            raise ValueError("the capture is damaged")
        if kind == 1:
            link_types.append(Struct(order + "H").unpack_from(data, pos + 8)[0])
        elif kind == 6:
            interface, captured = Struct(order + "I8xI").unpack_from(data, pos + 8)
            yield link_types[interface], data[pos + 28 : pos + 28 + captured]
        pos += size


@dataclass(frozen=True)
class _Segment:
    source: str
    target: str
    number: int
    syn: bool
    data: bytes


def _segment(link_type: int, packet: bytes) -> _Segment | None:
    """The segment of TCP in a packet; None where there is none."""
    skip = _LINK_HEADERS.get(link_type)
    if skip is None:
        raise ValueError(f"the capture has packets of link type {link_type}, which is not known here")
    while link_type == _ETHERNET and int.from_bytes(packet[skip - 2 : skip], "big") in _VLAN:
        skip += 4
    ip = packet[skip:]
    if not ip:
        return None
    version = ip[0] >> 4
    if version == 4:
        size = int.from_bytes(ip[2:4], "big")
        # Where the network card cuts packets into segments, the size is not known yet.
        protocol, addresses, rest = ip[9], (ip[12:16], ip[16:20]), ip[(ip[0] & 15) * 4 : size or None]
    elif version == 6:
        size = int.from_bytes(ip[4:6], "big")
        protocol, addresses, rest = ip[6], (ip[8:24], ip[24:40]), ip[40 : 40 + size if size else None]
    else:
        return None
    if protocol != _TCP or len(rest) < 20:
        return None
    source_port, target_port, number = Struct("!HHI").unpack_from(rest)
    source, target = (
        f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
        for address, port in zip(map(ip_address, addresses), (source_port, target_port), strict=True)
    )
    return _Segment(source, target, number, bool(rest[13] & _SYN), rest[(rest[12] >> 4) * 4 :])


class _Stream:
    """One direction of a connection."""

    def __init__(self, number: int) -> None:
        #: Places are sequence numbers that do not begin again at 0.
        self._next = number
        self._early: list[tuple[int, bytes]] = []

    def take(self, number: int, data: bytes) -> Iterator[bytes]:
        """What is in order now that this segment is here: it may come late, early or twice."""
        if data:
            ahead = (number - self._next + _HALF) % (1 << 32) - _HALF
            heappush(self._early, (self._next + ahead, data))
        while self._early and self._early[0][0] <= self._next:
            place, piece = heappop(self._early)
            piece = piece[self._next - place :]
            if piece:
                self._next += len(piece)
                yield piece
