"""Transfers like those before them: what they look like, and which link each is for.

A peer nearly always writes the transfers of a link alike, and those of other links with another handle only. So what
one transfer looks like reads those behind it: one `unpack` of a whole frame's head, two comparisons and one look-up of
the link, instead of a look at each field. That is nearly half of the cost from bytes to the queue.
"""

from __future__ import annotations

from typing import Final

from ..codec.hot import TransferShape, head_of
from .receiver import ReceiverEndpoint
from .session import SessionEndpoint

#: Shapes that are kept: a peer has one for each length of a handle and each kind of settlement.
_MAX_SHAPES: Final = 8


class Shapes:
    """The shapes of the transfers of one connection.

    Attributes:
        known: by what tells them apart, each shape and, by the prefix of their transfers, the links that use it.
    """

    __slots__ = ("known",)

    def __init__(self) -> None:
        self.known: dict[tuple[int, bytes, bytes], tuple[TransferShape, dict[bytes, ReceiverEndpoint]]] = {}

    def learn(self, session: SessionEndpoint, data: bytes, start: int, end: int) -> None:
        """Expect transfers like the one in the frame from `start` to `end`, which the session has taken."""
        head = head_of(data, start, end)
        if head is None:
            return
        key = (len(head.prefix), head.tag_head, head.rest)
        known = self.known.get(key)
        if known is None:
            if len(self.known) >= _MAX_SHAPES:
                self.forget()
            known = self.known[key] = (TransferShape(head), {})
        known[1][head.prefix] = session.receiver_of(head.handle)

    def forget(self) -> None:
        """Links or sessions came or went: handles and channels may mean others now."""
        self.known = {}
