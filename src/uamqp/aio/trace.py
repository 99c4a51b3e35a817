"""A trace of every frame, decoded, for those who look for an error. No message and no secret is in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from ..codec.frames import FrameReader
from ..engine.connection import ConnectionEndpoint


class _TracedEngine:
    """Stands before an engine, and tells what comes and goes; all else is the engine's."""

    def __init__(self, engine: ConnectionEndpoint, tell: Callable[[str], object]) -> None:
        self.__dict__.update(_engine=engine, _tell=tell, _received=FrameReader(), _sent=FrameReader())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._engine, name, value)

    def receive_data(self, data: bytes) -> None:
        for item in self._received.feed(bytes(data)):
            self._tell(f"<- {item}")
        self._engine.receive_data(data)

    def data_to_send(self) -> list[bytes | memoryview]:
        chunks: list[bytes | memoryview] = self._engine.data_to_send()
        for item in self._sent.feed(b"".join(chunks)):
            self._tell(f"-> {item}")
        return chunks

    def receive_eof(self) -> None:
        self._tell("<- end of the stream")
        self._engine.receive_eof()

    def lose(self, cause: BaseException | None) -> None:
        self._tell(f"the stream is gone: {cause or 'closed'}")
        self._engine.lose(cause)


def traced(engine: ConnectionEndpoint, tell: Callable[[str], object]) -> ConnectionEndpoint:
    """What a driver may run instead of the engine: `tell` is given a line for each frame, header and end."""
    return cast(ConnectionEndpoint, _TracedEngine(engine, tell))
