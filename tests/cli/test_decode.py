"""``uamqp decode``: bytes, hexadecimal text, and captures that the test makes."""

from __future__ import annotations

import random
import struct
from ipaddress import ip_address
from pathlib import Path

import pytest
from typer.testing import CliRunner

from uamqp.cli import app
from uamqp.cli.capture import segments
from uamqp.codec.message import Message

from ..codec.test_frames import ITEMS, STREAM, TRANSFER, frame

LINES = [str(item) for item in ITEMS]


def decode(*arguments: str, data: bytes = b"") -> tuple[int, list[str], str]:
    result = CliRunner().invoke(app, ["decode", *arguments], input=data)
    return result.exit_code, result.stdout.splitlines(), result.stderr


@pytest.mark.parametrize(
    "data",
    [
        STREAM,
        STREAM.hex().encode(),
        STREAM.hex(" ").upper().encode(),
        b"\n".join(b"0x%02x, " % byte for byte in STREAM),
        "".join(f"\\x{byte:02x}" for byte in STREAM).encode(),
    ],
    ids=["bytes", "hex", "with spaces", "C", "escapes"],
)
def test_bytes_and_hexadecimal_text(data: bytes) -> None:
    assert decode(data=data) == (0, LINES, "")


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "stream"
    path.write_bytes(STREAM)
    assert decode(str(path)) == (0, LINES, "")
    code, _, text = decode(str(tmp_path / "nowhere"))
    assert code == 2
    assert "nowhere" in text


def test_messages_are_shown_where_asked() -> None:
    payload = Message("hello").encode()
    stream = b"AMQP\x00\x01\x00\x00" + frame(TRANSFER.encode() + payload) + frame(TRANSFER.encode() + payload[:3])
    assert "hello" not in "".join(decode(data=stream)[1])
    lines = decode("--messages", data=stream)[1]
    assert "Message('hello')" in lines[2]
    assert lines[4].strip() == payload[:3].hex(" ")


def test_what_cannot_be_read() -> None:
    code, lines, _ = decode(data=b"HTTP/1.1 200 OK")
    assert code == 1
    assert "unreadable: no header of AMQP" in lines[0]
    code, lines, _ = decode(data=STREAM[:-1])
    assert code == 1
    assert lines[-1] == "7 bytes of a frame that is not complete"
    code, _, text = decode(data=b"414")
    assert code == 1
    assert "odd" in text


# --- captures ---------------------------------------------------------------------------------------------------

CLIENT, SERVER = ("10.0.0.1", 40_000), ("10.0.0.2", 5672)
CLIENT6, SERVER6 = ("::1", 40_000), ("2001:db8::2", 5672)


def tcp(
    source: tuple[str, int], target: tuple[str, int], number: int, data: bytes, *, syn: bool = False, options: int = 0
) -> bytes:
    """An IP packet with a segment of TCP."""
    flags = 0x02 if syn else 0x18
    head = struct.pack("!HHIIBBHHH", source[1], target[1], number & 0xFFFF_FFFF, 0, (5 + options) << 4, flags, 0, 0, 0)
    segment = head + bytes(4 * options) + data
    addresses = ip_address(source[0]).packed + ip_address(target[0]).packed
    if len(addresses) == 8:
        return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0, 64, 6, 0) + addresses + segment
    return struct.pack("!IHBB", 6 << 28, len(segment), 6, 64) + addresses + segment


def pcap(packets: list[bytes], link_type: int = 101, order: str = "<") -> bytes:
    head = struct.pack(order + "IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, link_type)
    return head + b"".join(struct.pack(order + "IIII", 0, 0, len(p), len(p)) + p for p in packets)


def pcapng(packets: list[bytes], link_type: int = 101, order: str = "<") -> bytes:
    def block(kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        size = len(body) + 12
        return struct.pack(order + "II", kind, size) + body + struct.pack(order + "I", size)

    parts = [block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))]
    parts.append(block(1, struct.pack(order + "HHI", link_type, 0, 65_535)))
    parts.append(block(4, b"names, which are passed over"))
    parts += [block(6, struct.pack(order + "IIIII", 0, 0, 0, len(p), len(p)) + p) for p in packets]
    return b"".join(parts)


def exchange(client: tuple[str, int], server: tuple[str, int], first: int = 1000) -> list[bytes]:
    """The stream in segments of 50 bytes, and as an answer its first header."""
    packets = [tcp(client, server, first, b"", syn=True)]
    for pos in range(0, len(STREAM), 50):
        packets.append(tcp(client, server, first + 1 + pos, STREAM[pos : pos + 50], options=3))
    packets.append(tcp(server, client, 7, STREAM[:8]))
    return packets


EXPECTED = [
    *(f"10.0.0.1:40000 -> 10.0.0.2:5672 {line}" for line in LINES),
    f"10.0.0.2:5672 -> 10.0.0.1:40000 {LINES[0]}",
]


@pytest.mark.parametrize("make", [pcap, pcapng])
@pytest.mark.parametrize("order", ["<", ">"])
def test_captures(make: object, order: str) -> None:
    assert decode(data=make(exchange(CLIENT, SERVER), order=order)) == (0, EXPECTED, "")  # type: ignore[operator]


@pytest.mark.parametrize(
    ("link_type", "head"),
    [
        (1, bytes(12) + b"\x08\x00"),
        (1, bytes(12) + b"\x81\x00\x00\x01\x08\x00"),
        (0, b"\x02\0\0\0"),
        (113, bytes(16)),
        (276, bytes(20)),
    ],
    ids=["Ethernet", "VLAN", "loopback", "Linux", "Linux 2"],
)
def test_link_types(link_type: int, head: bytes) -> None:
    packets = [head + packet for packet in exchange(CLIENT, SERVER)]
    assert decode(data=pcap(packets, link_type)) == (0, EXPECTED, "")


def test_version_6_of_ip() -> None:
    lines = decode(data=pcap(exchange(CLIENT6, SERVER6)))[1]
    assert lines[:-1] == [f"[::1]:40000 -> [2001:db8::2]:5672 {line}" for line in LINES]


@pytest.mark.parametrize("seed", range(10))
def test_segments_that_are_late_early_or_there_twice(seed: int) -> None:
    first, *packets = exchange(CLIENT, SERVER, first=(1 << 32) - 40)
    answer = packets.pop()
    # Sent again with more in it, as TCP does.
    packets += [tcp(CLIENT, SERVER, (1 << 32) - 39, STREAM[:70]), packets[2]]
    random.Random(seed).shuffle(packets)
    data = b"".join(
        piece for source, _, piece in segments(pcap([first, *packets, answer])) if source.endswith(":40000")
    )
    assert data == STREAM


def test_a_segment_that_is_missing_costs_no_time() -> None:
    packets = [tcp(CLIENT, SERVER, 1, b"", syn=True)]
    packets += [tcp(CLIENT, SERVER, 3 + n, b"x") for n in range(100_000)]
    assert list(segments(pcap(packets))) == []
    (_, _, first), *rest = segments(pcap([*packets, tcp(CLIENT, SERVER, 2, b"y")]))
    assert first == b"y" and len(rest) == 100_000


def test_other_packets_are_passed_over() -> None:
    udp = bytearray(tcp(CLIENT, SERVER, 1, b"x"))
    udp[9] = 17
    packets = [b"", b"\x00arp", bytes(udp), *exchange(CLIENT, SERVER)]
    assert decode(data=pcap(packets)) == (0, EXPECTED, "")


def test_one_port_of_several() -> None:
    other = [tcp(("10.0.0.1", 40_001), ("10.0.0.2", 80), 1, b"GET / HTTP/1.1\r\n")]
    capture = pcap([*other, *exchange(CLIENT, SERVER)])
    assert decode("--port", "5672", data=capture) == (0, EXPECTED, "")
    assert decode(data=capture)[0] == 1


def test_captures_that_are_damaged() -> None:
    whole = pcapng(exchange(CLIENT, SERVER))
    for data in (pcap([])[:22], pcap(exchange(CLIENT, SERVER), link_type=999), whole[:28] + bytes(8) + whole[36:]):
        code, _, text = decode(data=data)
        assert code == 1
        assert "capture" in text
