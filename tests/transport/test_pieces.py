from __future__ import annotations

from uamqp.transport.pieces import INBOX, pieces_of

LARGE = bytes(100_000)


def test_small_pieces_are_joined() -> None:
    assert pieces_of([b"one", b"two", memoryview(b"three")]) == [b"onetwothree"]


def test_nothing_large_is_copied() -> None:
    view = memoryview(LARGE)[10:]
    for chunks in ([LARGE], [b"head", LARGE], [b"small", b"head", view], [LARGE, b"tail"]):
        assert all(piece is chunk for piece, chunk in zip(pieces_of(chunks), chunks, strict=True))


def test_what_was_read_is_not_overwritten_by_the_next_read() -> None:
    def reading(data: bytes) -> bytes:
        def recv_into(buffer: memoryview) -> int:
            buffer[: len(data)] = data
            return len(data)

        return INBOX.read(recv_into)

    first = reading(b"first")
    assert (reading(b"then"), first) == (b"then", b"first")


def test_a_read_in_the_middle_of_another_one() -> None:
    """A finalizer may close another connection, which reads what is left."""

    def inner(buffer: memoryview) -> int:
        buffer[:5] = b"inner"
        return 5

    def outer(buffer: memoryview) -> int:
        buffer[:5] = b"outer"
        assert INBOX.read(inner) == b"inner"
        return 5

    assert INBOX.read(outer) == b"outer"
    # One is kept, and it is whole.
    assert len(INBOX.buffer) > 200_000
