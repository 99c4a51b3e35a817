"""Messages as `uamqp.Message(message=…)` takes them."""

from __future__ import annotations

from collections.abc import MutableSequence
from typing import Any, Self

from ..codec import message as codec
from ..codec.primitives import LEGACY
from .states import MessageBodyType
from .values import AMQPValue, ListValue, known


class cMessage(codec.Message):
    """A message whose body is put together section by section."""

    def add_body_data(self, value: bytes) -> None:
        """Add a section of data. Raises ValueError where the body is of another kind."""
        sections = [] if self.body_type is MessageBodyType.NoneType else self._sections(codec.Data)
        self.body = codec.Data([*sections, value])

    def add_body_sequence(self, value: ListValue) -> None:
        """Add a section that is a list. Raises ValueError where the body is of another kind."""
        sections = [] if self.body_type is MessageBodyType.NoneType else self._sections(codec.Sequence)
        self.body = codec.Sequence([*sections, value.to_codec()])

    def set_body_value(self, value: AMQPValue) -> None:
        """Make the body one value. Raises ValueError where it has sections of another kind."""
        if self.body_type in (MessageBodyType.DataType, MessageBodyType.SequenceType):
            raise ValueError("the body of the message is not a value")
        self.body = codec.Value(value.to_codec())

    def _sections(self, kind: type[codec.Data | codec.Sequence]) -> list[Any]:
        parts = self._body_parts()
        if not isinstance(parts, kind):
            raise ValueError(f"the body of the message is not {kind.__name__.lower()}")
        return parts.sections

    @property
    def body_type(self) -> MessageBodyType:
        """What the body consists of; `NoneType` as long as there is nothing in it."""
        parts = self._body_parts()
        if isinstance(parts, codec.Data):
            return MessageBodyType.DataType
        if isinstance(parts, codec.Sequence):
            return MessageBodyType.SequenceType
        return MessageBodyType.NoneType if parts.value is None else MessageBodyType.ValueType

    def count_body_data(self) -> int:
        """How many sections of data there are."""
        return len(self.data_sections)

    def count_body_sequence(self) -> int:
        """How many sections there are that are lists."""
        return len(self.sequence_sections)

    def get_body_data(self, index: int) -> bytes:
        """A section of data. Raises IndexError."""
        return self.data_sections[index]

    def get_body_sequence(self, index: int) -> AMQPValue:
        """A section that is a list. Raises IndexError."""
        return known(self.sequence_sections[index])

    def get_body_value(self) -> AMQPValue:
        """The value that is the body. Raises ValueError where it is of another kind."""
        parts = self._body_parts()
        if not isinstance(parts, codec.Value):
            raise ValueError("the body of the message is not a value")
        return known(parts.value)

    def clone(self) -> Self:
        """A copy of it, as it is now."""
        return self.decode(self.encode(), self.message_format)

    def destroy(self) -> None:
        """There is nothing to give back."""


def create_message() -> cMessage:
    """A message with nothing in it."""
    return cMessage()


def decode_message(payload_size: int, payload: bytes) -> cMessage:
    """The message in the first bytes of `payload`. Raises ValueError where they are none."""
    message = cMessage.decode(payload[:payload_size], dialect=LEGACY)
    message.check()
    return message


def get_encoded_message_size(message: codec.Message, encoded_data: MutableSequence[bytes]) -> int:
    """How many bytes the message has; they are put into the list too."""
    payload = message.encode()
    encoded_data.append(payload)
    return len(payload)
