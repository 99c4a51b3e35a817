"""The bodies of messages of the uamqp 1.6 API: data, sequences, a value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Self, cast

from ._legacy import Text, as_received, is_text, octets, outgoing
from .c_uamqp import states
from .codec import message as codec
from .constants import MessageBodyType


class MessageBody:
    """What the three kinds of body have in common."""

    _type: ClassVar[MessageBodyType]
    #: Whether the content was decoded: then it is shown as it is.
    _decoded = False

    def __init__(self, c_message: Any = None, encoding: str = "UTF-8") -> None:
        self._encoding = encoding

    @property
    def type(self) -> states.MessageBodyType:
        """Which kind it is: the value of a member of `uamqp.constants.MessageBodyType`."""
        return self._type.value

    @property
    def data(self) -> Any:
        """The content."""
        raise NotImplementedError

    def _shown(self, value: Any) -> Any:
        """A value of the content as it is read: the same before it is sent as after it was received."""
        return value if self._decoded else as_received(value, self._encoding)


class DataBody(MessageBody):
    """A body of bytes in one or more sections.

    Args:
        c_message: the sections, bytes or str; or a message that has them.
        encoding: of str.
    """

    _type = MessageBodyType.Data

    def __init__(self, c_message: Iterable[Text] | codec.Message = (), encoding: str = "UTF-8") -> None:
        super().__init__(c_message, encoding)
        self._sections: list[bytes] = []
        for section in c_message.data_sections if isinstance(c_message, codec.Message) else c_message:
            self.append(section)

    @classmethod
    def _of(cls, sections: list[bytes], encoding: str) -> Self:
        body = cls.__new__(cls)
        body._encoding = encoding
        body._sections = sections
        return body

    def append(self, data: Text) -> None:
        """Add a section."""
        self._sections.append(octets(data, self._encoding))

    @property
    def data(self) -> Iterator[bytes]:
        """The sections one by one."""
        yield from self._sections

    def __str__(self) -> str:
        return bytes(self).decode(self._encoding)

    def __bytes__(self) -> bytes:
        return b"".join(self._sections)

    def __len__(self) -> int:
        return len(self._sections)

    def __getitem__(self, index: int) -> bytes:
        return self._sections[index]

    def _to_codec(self) -> codec.Data:
        # AMQP has no body of no sections.
        return codec.Data(self._sections or [b""])


class SequenceBody(MessageBody):
    """A body of lists in one or more sections.

    Args:
        c_message: the lists; or a message that has them.
        encoding: of bytes that are text.
    """

    _type = MessageBodyType.Sequence

    def __init__(self, c_message: Iterable[list[Any]] | codec.Message = (), encoding: str = "UTF-8") -> None:
        super().__init__(c_message, encoding)
        self._sections: list[list[Any]] = []
        for section in c_message.sequence_sections if isinstance(c_message, codec.Message) else c_message:
            self.append(section)

    def append(self, data: list[Any]) -> None:
        """Add a section."""
        self._sections.append(list(data))

    @property
    def data(self) -> Iterator[list[Any]]:
        """The sections one by one, text in them as bytes."""
        for section in self._sections:
            yield self._shown(section)

    def __str__(self) -> str:
        return bytes(self).decode(self._encoding)

    def __bytes__(self) -> bytes:
        return b"".join(_printed(item) for section in self.data for item in section)

    def __len__(self) -> int:
        return len(self._sections)

    def __getitem__(self, index: int) -> list[Any]:
        return cast("list[Any]", self._shown(self._sections[index]))

    def _to_codec(self) -> codec.Sequence:
        return codec.Sequence([outgoing(section, self._encoding) for section in self._sections] or [[]])


class ValueBody(MessageBody):
    """A body of one value of any type.

    Args:
        c_message: the value; or a message that has it.
        encoding: of bytes that are text.
    """

    _type = MessageBodyType.Value

    def __init__(self, c_message: Any = None, encoding: str = "UTF-8") -> None:
        super().__init__(c_message, encoding)
        self._value = c_message.body if isinstance(c_message, codec.Message) else c_message

    def set(self, value: Any) -> None:
        """Make it another value."""
        self._value = value

    @property
    def data(self) -> Any:
        """The value, text in it as bytes."""
        return self._shown(self._value)

    def __str__(self) -> str:
        return bytes(self).decode(self._encoding)

    def __bytes__(self) -> bytes:
        value = self.data
        return _printed(value) if value else b""

    def _to_codec(self) -> codec.Value:
        return codec.Value(outgoing(self._value, self._encoding))


Body = DataBody | SequenceBody | ValueBody


def _printed(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def make_body(value: Any, body_type: MessageBodyType | None, encoding: str) -> Body | bytes:
    """The body for what the constructor of `Message` was given. Raises TypeError for what `body_type` cannot hold."""
    if body_type is None and isinstance(value, (bytes, str)):
        return value if isinstance(value, bytes) else value.encode(encoding)
    texts = isinstance(value, list) and all(is_text(item) for item in value)
    if body_type is MessageBodyType.Data or (body_type is None and texts):
        if not (is_text(value) or texts):
            raise TypeError(
                "For MessageBodyType.Data, the body must be str or bytes or list of str or bytes, "
                f"not {type(value).__name__}."
            )
        return DataBody([value] if is_text(value) else value, encoding)
    if body_type is MessageBodyType.Sequence:
        if not isinstance(value, list):
            raise TypeError(
                f"For MessageBodyType.Sequence, the body must be list or list of lists, not {type(value).__name__}."
            )
        lists = bool(value) and all(isinstance(item, list) for item in value)
        return SequenceBody(value if lists else [value], encoding)
    if body_type not in (None, MessageBodyType.Value):
        raise ValueError(f"Unsupported MessageBodyType: {body_type}")
    return ValueBody(value, encoding)


def body_of(message: codec.Message, encoding: str) -> Body:
    """The body of a decoded message."""
    parts = message._body_parts()
    body: Body
    if isinstance(parts, codec.Data):
        return DataBody._of(parts.sections, encoding)
    if isinstance(parts, codec.Sequence):
        body = SequenceBody(parts.sections, encoding)
    else:
        body = ValueBody(parts.value, encoding)
    body._decoded = True
    return body


def same_body(first: Body, second: Body | None) -> bool:
    """Whether both have the same content, of the same types."""
    return type(first) is type(second) and first.__dict__ == second.__dict__
