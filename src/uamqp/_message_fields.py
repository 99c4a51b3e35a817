"""Properties and header of messages of the uamqp 1.6 API."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from typing import Any, Final, Self
from uuid import UUID

from ._legacy import Text, Wrapper, as_received, incoming, is_text, octets, outgoing, text
from .codec import message as codec


def _as_id(name: str, value: object, encoding: str) -> object:
    value = as_received(value, encoding)
    if not isinstance(value, bytes | int | UUID):
        raise TypeError(f"{name} must be str, bytes, int or UUID, not {type(value).__name__}.")
    return value


def _as_text(name: str, value: Any, encoding: str) -> object:
    if not is_text(value):
        raise TypeError(f"{name} must be str or bytes, not {type(value).__name__}.")
    return octets(value, encoding)


def _as_number(name: str, value: object, encoding: str) -> object:
    if not isinstance(value, int):
        raise TypeError(f"{name} must be int, not {type(value).__name__}.")
    return int(value)


def _field(name: str, checked: Callable[[str, object, str], object]) -> Any:
    """A property of that name, whose values are checked when they are set."""
    place = f"_{name}"

    def put(properties: MessageProperties, value: object) -> None:
        if isinstance(value, Wrapper):
            # Each property has one type, so there is nothing that this one could choose.
            value = incoming(value.to_codec())
        setattr(properties, place, None if value is None else checked(name, value, properties._encoding))

    return property(attrgetter(place), put)


class MessageProperties:
    """The standard properties of a message (spec 3.2.4). Text reads back as bytes.

    Attributes:
        message_id, correlation_id: str, bytes, int or UUID.
        user_id: who sent it; any bytes.
        to, subject, reply_to, content_type, content_encoding, group_id, reply_to_group_id: str or bytes.
        absolute_expiry_time, creation_time: milliseconds since 1970-01-01 UTC.
        group_sequence: its place in its group.

    Args:
        properties: decoded properties to take all of these from.

    Raises:
        TypeError: a value has the wrong type.
    """

    _ALL = (
        *("message_id", "user_id", "to", "subject", "reply_to", "correlation_id", "content_type", "content_encoding"),
        *("absolute_expiry_time", "creation_time", "group_id", "group_sequence", "reply_to_group_id"),
    )

    message_id = _field("message_id", _as_id)
    user_id = _field("user_id", _as_text)
    to = _field("to", _as_text)
    subject = _field("subject", _as_text)
    reply_to = _field("reply_to", _as_text)
    correlation_id = _field("correlation_id", _as_id)
    content_type = _field("content_type", _as_text)
    content_encoding = _field("content_encoding", _as_text)
    absolute_expiry_time = _field("absolute_expiry_time", _as_number)
    creation_time = _field("creation_time", _as_number)
    group_id = _field("group_id", _as_text)
    group_sequence = _field("group_sequence", _as_number)
    reply_to_group_id = _field("reply_to_group_id", _as_text)

    def __init__(
        self,
        message_id: Text | int | UUID | None = None,
        user_id: Text | None = None,
        to: Text | None = None,
        subject: Text | None = None,
        reply_to: Text | None = None,
        correlation_id: Text | int | UUID | None = None,
        content_type: Text | None = None,
        content_encoding: Text | None = None,
        absolute_expiry_time: int | None = None,
        creation_time: int | None = None,
        group_id: Text | None = None,
        group_sequence: int | None = None,
        reply_to_group_id: Text | None = None,
        properties: codec.Properties | None = None,
        encoding: str = "UTF-8",
    ) -> None:
        if properties is not None:
            self._take(values_of(properties), encoding)
            return
        self._encoding = encoding
        self.message_id = message_id
        self.user_id = user_id
        self.to = to
        self.subject = subject
        self.reply_to = reply_to
        self.correlation_id = correlation_id
        self.content_type = content_type
        self.content_encoding = content_encoding
        self.absolute_expiry_time = absolute_expiry_time
        self.creation_time = creation_time
        self.group_id = group_id
        self.group_sequence = group_sequence
        self.reply_to_group_id = reply_to_group_id

    @classmethod
    def _of_fields(cls, fields: list[Any], encoding: str) -> Self | None:
        """Those of a received message whose values need nothing more done to them; None where there are none."""
        if fields.count(None) == len(fields):
            return None
        received: Any = cls.__new__(cls)
        received._encoding = encoding
        (
            received._message_id,
            received._user_id,
            received._to,
            received._subject,
            received._reply_to,
            received._correlation_id,
            received._content_type,
            received._content_encoding,
            received._absolute_expiry_time,
            received._creation_time,
            received._group_id,
            received._group_sequence,
            received._reply_to_group_id,
        ) = fields
        return received  # type: ignore[no-any-return]

    @classmethod
    def _received(cls, values: tuple[Any, ...], encoding: str) -> Self:
        """Those of a received message, without the detour of the constructor."""
        received = cls.__new__(cls)
        received._take(values, encoding)
        return received

    def _take(self, values: tuple[Any, ...], encoding: str) -> None:
        # What was decoded needs no look.
        self._encoding = encoding
        for name, value in zip(self._ALL, values, strict=True):
            if isinstance(value, str):
                setattr(self, f"_{name}", value.encode())
            else:
                setattr(self, f"_{name}", None if value is None else incoming(value))

    def get_properties_obj(self) -> codec.Properties:
        """The properties as the codec takes them."""
        encoding = self._encoding

        def named(value: bytes | None) -> str | None:
            return None if value is None else text(value, encoding)

        def identity(value: Any) -> Any:
            return outgoing(value, encoding) if isinstance(value, bytes) else value

        return codec.Properties(
            message_id=identity(self.message_id),
            user_id=self.user_id,
            to=named(self.to),
            subject=named(self.subject),
            reply_to=named(self.reply_to),
            correlation_id=identity(self.correlation_id),
            content_type=named(self.content_type),
            content_encoding=named(self.content_encoding),
            absolute_expiry_time=self.absolute_expiry_time,
            creation_time=self.creation_time,
            group_id=named(self.group_id),
            group_sequence=self.group_sequence,
            reply_to_group_id=named(self.reply_to_group_id),
        )

    def _values(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._ALL}

    def __str__(self) -> str:
        return str(self._values())

    def __repr__(self) -> str:
        return f"MessageProperties({', '.join(_set_ones(self._values()))})"


#: All of them, in the order of the specification; and those of a message that has none.
values_of: Final[Callable[[codec.Properties], tuple[Any, ...]]] = attrgetter(*MessageProperties._ALL)
NO_VALUES: Final = values_of(codec.Properties())


class MessageHeader:
    """How a message is to be carried (spec 3.2.1).

    Attributes:
        delivery_count: deliveries before this one that failed.
        time_to_live: milliseconds; `ttl` is the same.
        first_acquirer, durable: bool, or None.
        priority: 0 to 9, or None.

    Args:
        header: a decoded header to take all of these from.
    """

    def __init__(self, header: codec.Header | None = None) -> None:
        self.delivery_count: int | None = 0
        self.time_to_live: int | None = None
        self.first_acquirer: bool | None = None
        self.durable: bool | None = None
        self.priority: int | None = None
        if header is not None:
            self.delivery_count = header.delivery_count or 0
            self.time_to_live = header.ttl
            self.first_acquirer = header.first_acquirer
            self.durable = header.durable
            self.priority = header.priority

    @property
    def ttl(self) -> int | None:
        """The time to live."""
        return self.time_to_live

    def get_header_obj(self) -> codec.Header:
        """The header as the codec takes it."""
        return codec.Header(
            durable=_flag(self.durable),
            priority=_number(self.priority),
            ttl=_number(self.time_to_live),
            first_acquirer=_flag(self.first_acquirer),
            delivery_count=_number(self.delivery_count) or None,
        )

    def __str__(self) -> str:
        return str(self.__dict__)

    def __repr__(self) -> str:
        return f"<MessageHeader {', '.join(_set_ones(self.__dict__))}>"


def _flag(value: Any) -> bool | None:
    """Anything that is true or not, as it was always taken."""
    return None if value is None else bool(value)


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, bool) else value


def _set_ones(values: Mapping[str, Any]) -> Iterator[str]:
    return (f"{name}={value!r}" for name, value in values.items() if value is not None)
