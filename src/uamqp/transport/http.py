"""The little of HTTP/1.1 that comes before AMQP: heads of bounded size, and what their first line says."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Final

from ..exceptions import AMQPError, AuthenticationError, ConnectionLost
from .address import redacted

#: Bytes of a head; those of real servers and proxies have a few hundred.
MAX_HEAD: Final = 16_384
_END: Final = b"\r\n\r\n"
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)(?: ([^\r\n]*))?\r\n")
_LOCATION: Final = re.compile(rb"\r\nlocation:[ \t]*([^\r\n]+)", re.IGNORECASE)


class Head:
    """Gathers the head of a request or an answer.

    Args:
        sender: who sends it, for messages.
        begin: how it must begin, so that what is not HTTP is noticed with its first bytes.
    """

    def __init__(self, sender: str, begin: bytes) -> None:
        self._sender = sender
        self._begin = begin
        self._data = b""

    def take(self, data: bytes) -> tuple[bytes, bytes] | None:
        """The head and what came behind it, or None as long as it is not whole; b"" is the end of the stream.

        Raises:
            ConnectionLost: it is not HTTP, too long, or ended too early.
        """
        if not data:
            raise ConnectionLost(f"{self._sender} hung up during the opening handshake")
        self._data += data
        if not self._data.startswith(self._begin[: len(self._data)]):
            raise ConnectionLost(f"{self._sender} does not speak HTTP")
        end = self._data.find(_END, 0, MAX_HEAD)
        if end < 0:
            if len(self._data) >= MAX_HEAD:
                raise ConnectionLost(f"{self._sender} sent a head of more than {MAX_HEAD} bytes")
            return None
        end += len(_END)
        return self._data[:end], self._data[end:]


def answer_head(sender: str) -> Head:
    """Gathers the head of an answer."""
    return Head(sender, b"HTTP/1.")


def status(head: bytes, sender: str) -> tuple[int, str]:
    """The status of an answer and its words, such as 404 and "404 Not Found". Raises ConnectionLost."""
    match = _STATUS_LINE.match(head)
    if match is None:
        raise ConnectionLost(f"{sender} does not speak HTTP")
    return int(match[1]), f"{int(match[1])} {(match[2] or b'').decode('latin-1')}".rstrip()


def refusal(sender: str, code: int, words: str, head: bytes) -> AMQPError:
    """The error for an answer that is not the wanted one."""
    text = f"{sender} answered {words}"
    if 300 <= code < 400 and (location := _LOCATION.search(head)):
        text += f" with the location {redacted(location[1].decode('latin-1'))}, which is not followed"
    if code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED):
        return AuthenticationError(text, remote=True)
    error = ConnectionLost(text, remote=True)
    # Only that the server is busy or away may be otherwise the next time.
    error.retryable = code >= HTTPStatus.INTERNAL_SERVER_ERROR
    return error
