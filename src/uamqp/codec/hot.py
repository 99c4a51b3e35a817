"""Straight-line twins of the three frames that flow with every message: transfer, disposition, flow.

Strategy: read the shapes that peers really send, without a table, an object or a copy, and accept the
result only if it lands exactly on the end of the list. Everything else (rare fields, odd encodings,
damage) is answered with None, and the strict decoder decides: it either understands the frame or names
the error. Property tests prove that the twins and the strict decoder agree.

All `decode_*` functions start at the list constructor, that is behind the descriptor ``00 53 xx``.
They may raise IndexError or struct.error where the bytes end early; that too means: ask the strict decoder.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from struct import Struct
from typing import Final

_U32: Final = Struct(">I")
_u32: Final[Callable[[bytes, int], tuple[int]]] = _U32.unpack_from
_FRAME: Final = Struct(">IBBH")

#: The accepted outcome as a list without fields, in the two forms that peers use.
_ACCEPTED_LIST0: Final = b"\x00\x53\x24\x45"
_ACCEPTED_LIST8: Final = b"\x00\x53\x24\xc0\x01\x00"

#: What `decode_disposition` answers as state.
STATE_NONE: Final = 0
STATE_ACCEPTED: Final = 1

#: The two roles of a link's ends, as on the wire (spec 2.8.1).
ROLE_SENDER: Final = False
ROLE_RECEIVER: Final = True


def frame(channel: int, body: bytes, frame_type: int = 0) -> bytes:
    """One whole frame without an extended header (spec 2.3)."""
    return _FRAME.pack(len(body) + 8, 2, frame_type, channel) + body


def decode_transfer(data: bytes, pos: int, end: int) -> tuple[int, int, bytes, int, int, int, int] | None:
    """A transfer without receiver settle mode, state, resume and aborted (spec 2.7.5).

    Returns handle, delivery-id (-1 absent), delivery-tag (b"" where both are absent), message-format,
    settled (0, 1; -1 absent), more (0, 1) and the position of the payload.
    """
    code = data[pos]
    if code == 0xC0:
        stop = pos + 2 + data[pos + 1]
        count = data[pos + 2]
        pos += 3
    elif code == 0xD0:
        stop = pos + 5 + _u32(data, pos + 1)[0]
        count = _u32(data, pos + 5)[0]
        pos += 9
    else:
        return None
    if stop > end or count < 1 or count > 11:
        return None
    # handle
    code = data[pos]
    if code == 0x52:
        handle = data[pos + 1]
        pos += 2
    elif code == 0x43:
        handle = 0
        pos += 1
    elif code == 0x70:
        handle = _u32(data, pos + 1)[0]
        pos += 5
    else:
        return None
    delivery_id = -1
    tag = b""
    message_format = 0
    settled = -1
    more = 0
    if count > 1:
        code = data[pos]
        if code == 0x52:
            delivery_id = data[pos + 1]
            pos += 2
        elif code == 0x70:
            delivery_id = _u32(data, pos + 1)[0]
            pos += 5
        elif code == 0x43:
            delivery_id = 0
            pos += 1
        elif code == 0x40:
            pos += 1
        else:
            return None
    if count > 2:
        code = data[pos]
        if code == 0xA0:
            start = pos + 2
            pos = start + data[pos + 1]
            tag = data[start:pos]
        elif code == 0x40 and delivery_id < 0:
            pos += 1
        else:
            return None
    elif delivery_id >= 0:
        return None
    if count > 3:
        code = data[pos]
        if code == 0x43 or code == 0x40:
            pos += 1
        elif code == 0x70:
            message_format = _u32(data, pos + 1)[0]
            pos += 5
        elif code == 0x52:
            message_format = data[pos + 1]
            pos += 2
        else:
            return None
    if count > 4:
        code = data[pos]
        if code == 0x42:
            settled = 0
        elif code == 0x41:
            settled = 1
        elif code != 0x40:
            return None
        pos += 1
    if count > 5:
        code = data[pos]
        if code == 0x41:
            more = 1
        elif code != 0x42 and code != 0x40:
            return None
        pos += 1
        index = 6
        while index < count:
            code = data[pos]
            # Null where the strict decoder would read nothing; false for resume and aborted; batchable is a hint.
            if code != 0x40 and (index < 8 or (code != 0x42 and (code != 0x41 or index != 10))):
                return None
            pos += 1
            index += 1
    if pos != stop:
        return None
    return handle, delivery_id, tag, message_format, settled, more, pos


class TransferHead:
    """The bytes of a transfer in front of its payload, taken apart: what a peer repeats, and what it does not.

    Attributes:
        handle: the link.
        prefix: from the data offset up to the constructor of the delivery-id: channel, handle, sizes.
        tag_head: constructor and size of the delivery-tag.
        rest: what is behind the tag.
        message_format, settled: what the rest says, as `decode_transfer` gives it.
    """

    __slots__ = ("handle", "message_format", "prefix", "rest", "settled", "tag_head")

    def __init__(
        self, handle: int, prefix: bytes, tag_head: bytes, rest: bytes, message_format: int, settled: int
    ) -> None:
        self.handle = handle
        self.prefix = prefix
        self.tag_head = tag_head
        self.rest = rest
        self.message_format = message_format
        self.settled = settled


class TransferShape:
    """What transfers of whole deliveries have in common, whatever their link: all is in the same place.

    Attributes:
        size: bytes of the frame in front of the payload.
        unpack: gives frame size, prefix, delivery-id, tag head, tag and rest of the frame at a position.
        tag_head, rest: the bytes that have to be there for a frame to be of this shape.
        message_format, settled: what the rest says.
    """

    __slots__ = ("message_format", "rest", "settled", "size", "tag_head", "unpack")

    def __init__(self, head: TransferHead) -> None:
        self.tag_head = head.tag_head
        self.rest = head.rest
        self.message_format = head.message_format
        self.settled = head.settled
        shape = Struct(f">I{len(head.prefix)}sI2s{head.tag_head[1]}s{len(head.rest)}s")
        self.size = shape.size
        self.unpack: Callable[[bytes, int], tuple[int, bytes, int, bytes, bytes, bytes]] = shape.unpack_from


#: Where a handle of each constructor ends, from the start of a frame with a small list: 4 of size, 4 of header, 3 of
#: descriptor, 3 of list.
_HANDLE_ENDS: Final = {0x43: 15, 0x52: 16, 0x70: 19}


def head_of(data: bytes, start: int, end: int) -> TransferHead | None:
    """The head of the transfer in the frame from `start` to `end`.

    None where it is not a whole delivery with a delivery-id of four bytes, a tag and a list of short size.
    """
    transfer = decode_transfer(data, start + 11, end)
    if transfer is None or data[start + 11] != 0xC0:
        return None
    handle, _, _, message_format, settled, more, payload = transfer
    code = start + _HANDLE_ENDS[data[start + 14]]
    if more or code + 7 > payload or data[code] != 0x70 or data[code + 5] != 0xA0:
        return None
    tag_end = code + 7 + data[code + 6]
    return TransferHead(
        handle,
        data[start + 4 : code + 1],
        data[code + 5 : code + 7],
        data[tag_end:payload],
        message_format,
        settled,
    )


def decode_disposition(data: bytes, pos: int, end: int) -> tuple[bool, int, int, bool, int] | None:
    """A disposition whose state is absent or accepted (spec 2.7.6).

    Returns role (True: the peer is the receiver), first, last, settled, and STATE_NONE or STATE_ACCEPTED.
    """
    if data[pos] != 0xC0:
        return None
    stop = pos + 2 + data[pos + 1]
    count = data[pos + 2]
    if stop != end or count < 2 or count > 6:
        return None
    pos += 3
    code = data[pos]
    if code == 0x41:
        role = True
    elif code == 0x42:
        role = False
    else:
        return None
    pos += 1
    code = data[pos]
    if code == 0x70:
        first = _u32(data, pos + 1)[0]
        pos += 5
    elif code == 0x52:
        first = data[pos + 1]
        pos += 2
    elif code == 0x43:
        first = 0
        pos += 1
    else:
        return None
    last = first
    settled = False
    state = STATE_NONE
    if count > 2:
        code = data[pos]
        if code == 0x70:
            last = _u32(data, pos + 1)[0]
            pos += 5
        elif code == 0x52:
            last = data[pos + 1]
            pos += 2
        elif code == 0x43:
            last = 0
            pos += 1
        elif code == 0x40:
            pos += 1
        else:
            return None
    if count > 3:
        code = data[pos]
        if code == 0x41:
            settled = True
        elif code != 0x42 and code != 0x40:
            return None
        pos += 1
    if count > 4:
        if data.startswith(_ACCEPTED_LIST0, pos):
            state = STATE_ACCEPTED
            pos += 4
        elif data[pos] == 0x40:
            pos += 1
        elif data.startswith(_ACCEPTED_LIST8, pos):
            state = STATE_ACCEPTED
            pos += 6
        else:
            return None
    if count > 5:
        if data[pos] not in (0x41, 0x42, 0x40):
            return None
        pos += 1
    if pos != stop:
        return None
    return role, first, last, settled, state


def decode_flow(data: bytes, pos: int, end: int) -> tuple[list[int], bool, bool] | None:
    """A flow without properties (spec 2.7.4).

    Returns the eight numbers in the order of the specification (next-incoming-id, incoming-window,
    next-outgoing-id, outgoing-window, handle, delivery-count, link-credit, available), -1 where absent, then
    drain and echo.
    """
    if data[pos] != 0xC0:
        return None
    stop = pos + 2 + data[pos + 1]
    count = data[pos + 2]
    if stop != end or count < 4 or count > 11:
        return None
    pos += 3
    numbers = [-1, -1, -1, -1, -1, -1, -1, -1]
    drain = False
    echo = False
    index = 0
    while index < count:
        code = data[pos]
        if index < 8:
            if code == 0x70:
                numbers[index] = _u32(data, pos + 1)[0]
                pos += 5
            elif code == 0x52:
                numbers[index] = data[pos + 1]
                pos += 2
            elif code == 0x43:
                numbers[index] = 0
                pos += 1
            elif code == 0x40:
                pos += 1
            else:
                return None
        elif code == 0x40 or (code == 0x42 and index < 10):
            pos += 1
        elif code == 0x41 and index == 8:
            drain = True
            pos += 1
        elif code == 0x41 and index == 9:
            echo = True
            pos += 1
        else:
            return None
        index += 1
    if pos != stop or numbers[1] < 0 or numbers[2] < 0 or numbers[3] < 0:
        return None
    return numbers, drain, echo


def _uint(value: int) -> bytes:
    if value < 0:
        return b"\x40"
    if value == 0:
        return b"\x43"
    if value < 256:
        return bytes((0x52, value))
    return b"\x70" + _U32.pack(value)


def _list8(fields: bytes, count: int) -> bytes:
    return bytes((0xC0, len(fields) + 1, count)) + fields


#: A flow that gives credit and says nothing else: what is before the channel and behind it, then seven numbers.
_CREDIT: Final = Struct(">6sH7sIBIBIBIBIBIBI")
_CREDIT_START: Final = b"\x00\x00\x00\x31\x02\x00"
_CREDIT_LIST: Final = b"\x00\x53\x13\xc0\x24\x07\x70"


def encode_flow(channel: int, numbers: list[int], drain: bool, echo: bool, all_fields: bool = False) -> bytes:
    """A whole flow frame; `numbers` as in `decode_flow`, four of them for a flow of the session alone."""
    if len(numbers) == 7 and not (drain or echo or all_fields):
        # A seventh of the time that it takes number by number: 1,000 links ask for more 1,000 times.
        next_in, window, next_out, limit, handle, count, credit = numbers
        if next_in >= 0 and count >= 0:
            start, middle, u = _CREDIT_START, _CREDIT_LIST, 0x70
            return _CREDIT.pack(
                start, channel, middle, next_in, u, window, u, next_out, u, limit, u, handle, u, count, u, credit
            )
    fields = b"".join([_uint(n) for n in numbers])
    count = len(numbers)
    if drain or echo or all_fields:
        fields += b"\x40" * (8 - count) + (b"\x41" if drain else b"\x42") + (b"\x41" if echo else b"\x42")
        count = 10
    if all_fields:
        fields += b"\x40"
        count = 11
    return frame(channel, b"\x00\x53\x13" + _list8(fields, count))


def encode_disposition(
    channel: int, role: bool, first: int, last: int, settled: bool, state: bytes, all_fields: bool = False
) -> bytes:
    """A whole disposition frame for the deliveries first … last; `state` is an encoded delivery state, b"" for none."""
    fields = (
        (b"\x41" if role else b"\x42")
        + _uint(first)
        + (b"\x40" if first == last else _uint(last))
        + (b"\x41" if settled else b"\x42")
        + state
    )
    count = 5 if state else 4
    if all_fields:
        fields += b"\x40" * (6 - count)
        count = 6
    if len(fields) < 255:
        return frame(channel, b"\x00\x53\x15" + _list8(fields, count))
    body = b"\x00\x53\x15\xd0" + _U32.pack(len(fields) + 4) + _U32.pack(count) + fields
    return frame(channel, body)


@cache
def _transfer_packer(first: int, tail: int) -> Callable[[int, bytes, int, int, int, bytes], bytes]:
    """What links with handles of one length share: each of its own would be a third of a kilobyte."""
    return Struct(f">I{first}sIHI{tail}s").pack


class TransferHeader:
    """The bytes before the payload of a link's transfers, of which only few change from message to message.

    One `Struct.pack` around constants of the link instead of encoding six fields: a tenth of the cost. The sender
    calls `pack` itself, which spares a call per message: frame size, `first`, delivery-id, 0xA004 (the constructor
    of a tag of four bytes), the tag as a number, and `settled` or `unsettled`. That is for message format 0;
    `encode_first` covers the rest.
    """

    __slots__ = (
        "_channel",
        "_continuation",
        "_count",
        "_handle",
        "_rest",
        "first",
        "overhead",
        "pack",
        "settled",
        "unsettled",
    )

    def __init__(self, channel: int, handle: int, all_fields: bool = False) -> None:
        self._channel = channel
        self._handle = _uint(handle)
        self._count = 11 if all_fields else 6
        self._rest = b"\x40" * (self._count - 6)
        tail = 3 + len(self._rest)
        fields = len(self._handle) + 5 + 6 + tail
        start = Struct(">BBH").pack(2, 0, channel)
        head = start + b"\x00\x53\x14\xc0"
        self.first = head + bytes((fields + 1, self._count)) + self._handle + b"\x70"
        self.pack = _transfer_packer(len(self.first), tail)
        #: Bytes of a frame beside its payload.
        self.overhead = 4 + len(self.first) + 4 + 2 + 4 + tail
        self.unsettled = b"\x43\x42\x42" + self._rest
        self.settled = b"\x43\x41\x42" + self._rest
        self._continuation = head + bytes((len(self._handle) + 3 + tail, self._count)) + self._handle

    def encode_first(
        self, delivery_id: int, tag: bytes, message_format: int, settled: bool, more: bool, size: int
    ) -> bytes:
        """The header of a first transfer with any tag and format, before `size` bytes of payload."""
        fields = (
            self._handle
            + b"\x70"
            + _U32.pack(delivery_id)
            + bytes((0xA0, len(tag)))
            + tag
            + _uint(message_format)
            + (b"\x41" if settled else b"\x42")
            + (b"\x41" if more else b"\x42")
            + self._rest
        )
        body = b"\x00\x53\x14" + _list8(fields, self._count)
        return _FRAME.pack(len(body) + 8 + size, 2, 0, self._channel) + body

    def encode_next(self, more: bool, size: int) -> bytes:
        """The header of a further transfer of the same delivery, before `size` bytes of payload."""
        rest = self._continuation + b"\x40\x40\x40\x40" + (b"\x41" if more else b"\x42") + self._rest
        return _U32.pack(len(rest) + 4 + size) + rest

    def encode_aborted(self) -> bytes:
        """A transfer that aborts the delivery begun on the link (spec 2.7.5, aborted)."""
        # The last field, batchable, may be left out or be null.
        fields = self._handle + b"\x40\x40\x40\x40\x42\x40\x40\x42\x41" + self._rest[:1]
        body = b"\x00\x53\x14" + _list8(fields, 10 + len(self._rest[:1]))
        return frame(self._channel, body)
