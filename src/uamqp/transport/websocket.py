"""WebSocket (RFC 6455) between the bytes of a stream and those of an engine, without I/O. Needs ``uamqp[websocket]``.

AMQP is a stream of bytes in binary messages, whose borders mean nothing: they need not be those of frames. Nothing is
compressed. What goes wrong never raises here, but is in `error`.
"""

from __future__ import annotations

import logging
from typing import Final, Self
from urllib.parse import quote

from websockets.client import ClientProtocol
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

from ..exceptions import AMQPError, ConnectionLost
from .address import Endpoint, ascii_host
from .http import Head, answer_head, refusal, status

#: Bytes of a message to take, fragments together: far more than one write of any client, but not without end.
MAX_MESSAGE: Final = 4 * 1024 * 1024
#: Bytes of a message to send: longer output becomes several, because servers have limits of their own.
MAX_PIECE: Final = 256 * 1024
#: The subprotocols that stand for AMQP 1.0: the registered one, and that of Azure.
SUBPROTOCOLS: Final = ("amqp", "AMQPWSB10")

# Not one of the tree of loggers: at level DEBUG the library would write down what is sent, passwords included.
_SILENT: Final = logging.Logger("uamqp.transport.websocket", logging.CRITICAL)


class WebSocket:
    """One end of a WebSocket; made by `client` or `server`.

    Attributes:
        opened: whether the opening handshake is over, so that payload can be sent.
        error: why nothing more can be sent or received; None as long as it can.
    """

    def __init__(self, protocol: ClientProtocol | ServerProtocol, peer: str, head: Head) -> None:
        self._protocol = protocol
        self._peer = peer
        self._head = head
        self._reply = b""
        self.opened = False
        self.error: AMQPError | None = None

    @classmethod
    def client(cls, endpoint: Endpoint, host: str, subprotocol: str) -> Self:
        """The end of a client that wants that subprotocol, at a server that is called `host`."""
        path = "/" + quote(endpoint.path, safe="/$&+,:;=@!*'()~")
        protocol = ClientProtocol(
            WebSocketURI(endpoint.tls, ascii_host(host), endpoint.port, path, ""),
            subprotocols=[Subprotocol(subprotocol)],
            max_size=MAX_MESSAGE,
            logger=_SILENT,
        )
        peer = f"the WebSocket server {endpoint}"
        return cls(protocol, peer, answer_head(peer))

    @classmethod
    def server(cls) -> Self:
        """The end of a server: any path, any of `SUBPROTOCOLS`."""
        protocol = ServerProtocol(
            subprotocols=[Subprotocol(name) for name in SUBPROTOCOLS], max_size=MAX_MESSAGE, logger=_SILENT
        )
        return cls(protocol, "the client", Head("the client", b"GET "))

    def start(self) -> bytes:
        """What is to be sent first."""
        if isinstance(self._protocol, ClientProtocol):
            self._protocol.send_request(self._protocol.connect())
        return b"".join(self._protocol.data_to_send())

    def receive(self, data: bytes) -> list[bytes]:
        """Take the bytes of one read; b"" is the end of the stream. Returns the payload in them.

        Then `opened` or `error` may be different, and `take_reply` may have something.
        """
        if self.error is not None:
            return []
        answer = b""
        if not self.opened:
            data = self._shake_hands(data)
            if not data:
                return []
            answer = self._reply
        elif not data:
            self._fail("ended the stream without closing the WebSocket")
            return []
        self._protocol.receive_data(data)
        payload = self._payload()
        if reply := b"".join(self._protocol.data_to_send()):
            self._reply = answer + reply
        return payload

    def _shake_hands(self, data: bytes) -> bytes:
        """Go on with the opening handshake; what came behind it."""
        protocol = self._protocol
        try:
            found = self._head.take(data)
            if found is None:
                return b""
            head, rest = found
            if isinstance(protocol, ClientProtocol):
                # Known from the first line, whose body may be long, or never come.
                code, words = status(head, self._peer)
                if code != 101:
                    raise refusal(self._peer, code, words, head)
        except AMQPError as error:
            self.error = error
            return b""
        protocol.receive_data(head)
        events = protocol.events_received()
        if isinstance(protocol, ServerProtocol) and events and isinstance(events[0], Request):
            protocol.send_response(protocol.accept(events[0]))
        self._reply = b"".join(protocol.data_to_send())
        self.opened = protocol.state is State.OPEN
        if not self.opened:
            self._fail(f"does not open a WebSocket: {protocol.handshake_exc}").retryable = False
        elif protocol.subprotocol is None:
            self.opened = False
            self._fail("opened the WebSocket without the subprotocol of AMQP").retryable = False
        return rest if self.opened else b""

    def _payload(self) -> list[bytes]:
        protocol = self._protocol
        payload = []
        for event in protocol.events_received():
            assert isinstance(event, Frame)
            if event.opcode is Opcode.BINARY or event.opcode is Opcode.CONT:
                if event.data:
                    payload.append(bytes(event.data))
            elif event.opcode is Opcode.TEXT:
                protocol.fail(CloseCode.UNSUPPORTED_DATA, "AMQP is binary")
                self._fail("sent a text message (1003)")
                return payload
        if protocol.parser_exc is not None:
            assert protocol.close_sent is not None
            self._fail(f"broke the WebSocket protocol ({protocol.close_sent.code}): {protocol.parser_exc}")
        elif protocol.close_rcvd is not None:
            self._fail(f"closed the WebSocket: {protocol.close_rcvd}")
        return payload

    def take_reply(self) -> bytes:
        """What is to be sent because of what was received, or b"". As long as it is not taken, only the latest is kept
        (RFC 6455, 5.5.3): who asks much and reads nothing costs no memory."""
        reply, self._reply = self._reply, b""
        return reply

    def wrap(self, data: bytes) -> bytes:
        """The bytes that carry this payload; only while it is open and without error."""
        protocol = self._protocol
        for begin in range(0, len(data), MAX_PIECE):
            protocol.send_binary(data[begin : begin + MAX_PIECE])
        return b"".join(protocol.data_to_send())

    def close(self) -> bytes:
        """The bytes that say goodbye, b"" where it is too early or too late for that. The peer says goodbye too."""
        protocol = self._protocol
        if not self.opened or protocol.state is not State.OPEN:
            return b""
        protocol.send_close(CloseCode.NORMAL_CLOSURE)
        return b"".join(protocol.data_to_send())

    def _fail(self, what: str) -> AMQPError:
        self.error = ConnectionLost(f"{self._peer} {what}")
        return self.error
