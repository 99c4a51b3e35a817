"""Messages: read lazily, written in the order of the specification (spec 3.2)."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from typing import Any, Final, Literal, Self, TypeAlias, cast

from ..exceptions import DecodeError, EncodeError
from .composite import Composite
from .decoding import MODERN, Dialect, guarded, read_value
from .encoding import encode, encoder
from .hot_sections import lone_data
from .sections import (
    APPLICATION_PROPERTIES,
    DATA,
    DELIVERY_ANNOTATIONS,
    FOOTER,
    HEADER,
    MESSAGE_ANNOTATIONS,
    PROPERTIES,
    SEQUENCE,
    Header,
    Layout,
    Properties,
    data_at,
    encode_map_section,
    header_section,
    read_application_properties,
    read_properties,
    read_section,
    scan,
)

__all__ = [
    "Data",
    "Header",
    "Message",
    "Properties",
    "Sequence",
    "Value",
    "encode_message",
    "header_section",
]

#: How much of a body is shown in repr, in characters or bytes.
_SHOWN: Final = 60
_SHORT: Final = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHOWN

_DATA_PREFIX: Final = b"\x00\x53\x75"
_SEQUENCE_PREFIX: Final = b"\x00\x53\x76"
_VALUE_PREFIX: Final = b"\x00\x53\x77"

#: All that comes before the bytes of a data body of up to 255 bytes.
_DATA8: Final = [_DATA_PREFIX + bytes((0xA0, size)) for size in range(256)]
_DATA32: Final = _DATA_PREFIX + b"\xb0"

_encode_list: Final = encoder("list")

Map: TypeAlias = dict[Any, Any]


def _sections(name: str, sections: Any, kind: tuple[type, ...], meaning: str) -> list[Any]:
    """The sections of a body, one at least, each of its kind."""
    found = [None] if isinstance(sections, (str, bytes, bytearray, memoryview)) else list(sections)
    if not all(isinstance(section, kind) for section in found):
        raise TypeError(f"{name} takes a list of {meaning}, one for each section")
    if not found:
        raise ValueError(f"{name} takes one section at least")
    return found


class Data:
    """A body of one or more data sections (spec 3.2.6).

    Attributes:
        sections: their bytes.

    Raises:
        ValueError, TypeError: there is no section, or one is of another kind.
    """

    __slots__ = ("sections",)

    def __init__(self, sections: list[bytes]) -> None:
        self.sections = _sections("Data", sections, (bytes, bytearray, memoryview), "bytes")

    def __eq__(self, other: object) -> bool:
        return self.sections == other.sections if isinstance(other, Data) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Data({self.sections!r})"


class Sequence:
    """A body of one or more sequence sections (spec 3.2.7).

    Attributes:
        sections: their lists.

    Raises:
        ValueError, TypeError: there is no section, or one is of another kind.
    """

    __slots__ = ("sections",)

    def __init__(self, sections: list[list[Any]]) -> None:
        self.sections = _sections("Sequence", sections, (list, tuple), "lists")

    def __eq__(self, other: object) -> bool:
        return self.sections == other.sections if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Sequence({self.sections!r})"


class Value:
    """A body that is one value of any type (spec 3.2.8); bytes in it are a binary value, not a data section.

    Attributes:
        value: the value.
    """

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value: Any = value

    def __eq__(self, other: object) -> bool:
        return bool(self.value == other.value) if isinstance(other, Value) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Value({self.value!r})"


Body: TypeAlias = Data | Sequence | Value


def _body_of(value: object) -> Body | bytes:
    """A body that was given; bytes stand for one data section."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    return value if isinstance(value, (Data, Sequence, Value)) else Value(value)


def _data_section(section: object) -> tuple[bytes, bytes]:
    """What comes before the bytes, and the bytes themselves: a large body is copied once, when all is joined."""
    if not isinstance(section, (bytes, bytearray, memoryview)):
        raise EncodeError(f"bytes expected, not {type(section).__name__}")
    data = bytes(section)
    size = len(data)
    if size > 0xFFFFFFFF:  # pragma: no cover - would need 4 GiB
        raise EncodeError(f"a data section of {size} bytes")
    return (_DATA8[size] if size < 256 else _DATA32 + size.to_bytes(4, "big")), data


def _encode_body(body: Body | bytes) -> list[bytes]:
    if isinstance(body, bytes):
        return [*_data_section(body)]
    if isinstance(body, Data):
        return [part for section in body.sections for part in _data_section(section)]
    if isinstance(body, Sequence):
        return [_SEQUENCE_PREFIX + _encode_list(section, 0) for section in body.sections]
    return [_VALUE_PREFIX + encode(body.value)]


def _unchanged(current: Any, original: Callable[[], Any], write: Callable[[Any], object] = encode) -> bool:
    # Compared as bytes, because to Python 1, 1.0 and True are the same. What cannot be read was replaced, and
    # what cannot be written is for the section to complain about.
    try:
        return write(current) == write(original())
    except (DecodeError, EncodeError):
        return False


def _checked_map(value: object, name: str) -> Map:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise TypeError(f"{name} is a dict, not {type(value).__name__}")
    return value


class Message:
    """A message: sections about it around a body.

    A message made by `decode` keeps the bytes it was made from and reads each section when it is first asked for;
    that is when `DecodeError` is raised, so a damaged body does not hide good properties. `check` reads all.

    Args:
        body: bytes, bytearray or memoryview for one data section; `Data`, `Sequence` or `Value` for a body of that
            kind; anything else, None included, is sent as a value.
        header, properties: the standard fields.
        delivery_annotations, annotations, footer: keys are str, sent as symbols, or ulong.
        application_properties: keys are str, values neither lists nor maps nor arrays.
        message_format: the format of the message, 0 for AMQP's own (spec 2.8.11).

    Raises:
        TypeError: a section is of the wrong Python type.
    """

    __slots__ = (
        "_annotations",
        "_application_properties",
        "_body",
        "_delivery_annotations",
        "_dialect",
        "_footer",
        "_header",
        "_layout",
        "_payload",
        "_properties",
        "message_format",
    )

    def __init__(
        self,
        body: object = None,
        *,
        header: Header | None = None,
        delivery_annotations: Map | None = None,
        annotations: Map | None = None,
        properties: Properties | None = None,
        application_properties: Map | None = None,
        footer: Map | None = None,
        message_format: int = 0,
    ) -> None:
        self._payload: bytes | None = None
        self._layout: Layout | None = None
        self._dialect = MODERN
        self._header: Header | None = None
        self._delivery_annotations: Map | None = None
        self._annotations: Map | None = None
        self._properties: Properties | None = None
        self._application_properties: Map | None = None
        self._body: Body | bytes | None = _body_of(body)
        self._footer: Map | None = None
        self.message_format = message_format
        if header is not None:
            self.header = header
        if delivery_annotations is not None:
            self.delivery_annotations = delivery_annotations
        if annotations is not None:
            self.annotations = annotations
        if properties is not None:
            self.properties = properties
        if application_properties is not None:
            self.application_properties = application_properties
        if footer is not None:
            self.footer = footer

    @classmethod
    def decode(cls, payload: bytes, message_format: int = 0, dialect: Dialect = MODERN) -> Self:
        """The message in `payload`, which is not looked at before a section is asked for.

        Args:
            payload: all bytes of the message.
            message_format: as the transfer said.
            dialect: how the values of maps and body appear; header and properties are the same in each.
        """
        message = cls.__new__(cls)
        message._payload = payload if type(payload) is bytes else bytes(payload)
        message._layout = None
        message._dialect = dialect
        message._header = None
        message._delivery_annotations = None
        message._annotations = None
        message._properties = None
        message._application_properties = None
        message._body = None
        message._footer = None
        message.message_format = message_format
        return message

    # --- sections ---------------------------------------------------------------------------------------------

    @property
    def header(self) -> Header:
        """How the message is to be carried."""
        if self._header is None:
            self._header = cast("Header | None", self._original(HEADER)) or Header()
        return self._header

    @header.setter
    def header(self, value: Header) -> None:
        if not isinstance(value, Header):
            raise TypeError(f"header is a Header, not {type(value).__name__}")
        self._header = value

    @property
    def delivery_annotations(self) -> Map:
        """Annotations for the next node only."""
        if self._delivery_annotations is None:
            self._delivery_annotations = self._original_map(DELIVERY_ANNOTATIONS)
        return self._delivery_annotations

    @delivery_annotations.setter
    def delivery_annotations(self, value: Map) -> None:
        self._delivery_annotations = _checked_map(value, "delivery_annotations")

    @property
    def annotations(self) -> Map:
        """Annotations for every node on the way: the section message-annotations."""
        if self._annotations is None:
            self._annotations = self._original_map(MESSAGE_ANNOTATIONS)
        return self._annotations

    @annotations.setter
    def annotations(self, value: Map) -> None:
        self._annotations = _checked_map(value, "annotations")

    @property
    def properties(self) -> Properties:
        """The standard properties."""
        properties = self._properties
        if properties is None:
            found = self._found(PROPERTIES)
            properties = Properties() if found is None else read_properties(*found)
            self._properties = properties
        return properties

    @properties.setter
    def properties(self, value: Properties) -> None:
        if not isinstance(value, Properties):
            raise TypeError(f"properties is a Properties, not {type(value).__name__}")
        self._properties = value

    def came_with(self, code: int) -> bool:
        """Whether the message was decoded from bytes that have the section with that descriptor, be it an empty one."""
        return self._found(code) is not None

    @property
    def application_properties(self) -> Map:
        """The application's own properties."""
        entries = self._application_properties
        if entries is None:
            found = self._found(APPLICATION_PROPERTIES)
            entries = {} if found is None else read_application_properties(*found, self._dialect)
            self._application_properties = entries
        return entries

    @application_properties.setter
    def application_properties(self, value: Map) -> None:
        self._application_properties = _checked_map(value, "application_properties")

    @property
    def footer(self) -> Map:
        """What can only be known once the body is, such as hashes of it."""
        if self._footer is None:
            self._footer = self._original_map(FOOTER)
        return self._footer

    @footer.setter
    def footer(self, value: Map) -> None:
        self._footer = _checked_map(value, "footer")

    # --- body -------------------------------------------------------------------------------------------------

    @property
    def body(self) -> Any:
        """Bytes for a data body, a list for a sequence body (several sections joined), else the value."""
        data = self.lone_section()
        if data is not None:
            return data
        body = self._body_parts()
        if isinstance(body, Data):
            return b"".join(body.sections)
        if isinstance(body, Value):
            return body.value
        if len(body.sections) == 1:
            return body.sections[0]
        return [item for section in body.sections for item in section]

    @body.setter
    def body(self, value: object) -> None:
        self._body = _body_of(value)

    @property
    def body_kind(self) -> Literal["data", "sequence", "value"]:
        """Which kind of section the body consists of."""
        body = self._body_parts()
        if isinstance(body, Data):
            return "data"
        return "sequence" if isinstance(body, Sequence) else "value"

    @property
    def data_sections(self) -> list[bytes]:
        """The sections of a data body one by one; empty for other bodies."""
        body = self._body_parts()
        return body.sections if isinstance(body, Data) else []

    @property
    def sequence_sections(self) -> list[list[Any]]:
        """The sections of a sequence body one by one; empty for other bodies."""
        body = self._body_parts()
        return body.sections if isinstance(body, Sequence) else []

    def lone_section(self) -> bytes | None:
        """The body as it was given or decoded, where it is one data section, the commonest of all; None for others."""
        body, payload = self._body, self._payload
        if body is not None or payload is None:
            return body if isinstance(body, bytes) else None
        layout = self._layout
        if layout is None:
            data = lone_data(payload)
            if data is not None:
                return data
            layout = self._scanned(payload)
        if layout.kind == DATA and len(layout.body) == 1:
            start, end = layout.body[0]
            return data_at(payload, start, end)
        return None

    def _body_parts(self) -> Body:
        body = self._body
        if body is None:
            body = self._body = self._original_body()
        elif isinstance(body, bytes):
            body = self._body = Data([body])
        return body

    # --- the bytes that the message was decoded from ----------------------------------------------------------

    def check(self) -> None:
        """Read all of a decoded message.

        Raises:
            DecodeError: some of it is not valid.
        """
        self._body_parts()
        _ = self.header, self.delivery_annotations, self.annotations
        _ = self.properties, self.application_properties, self.footer

    def _scanned(self, payload: bytes) -> Layout:
        layout = self._layout
        if layout is None:
            layout = self._layout = scan(payload)
        return layout

    def _found(self, code: int) -> tuple[bytes, tuple[int, int, int]] | None:
        """The bytes that the message came in, and where in them that section lies; None where it came without it."""
        payload = self._payload
        if payload is None:
            return None
        layout = self._layout
        if layout is None:
            layout = self._layout = scan(payload)
        place = layout.sections.get(code)
        return None if place is None else (payload, place)

    def _original(self, code: int) -> object | None:
        found = self._found(code)
        return None if found is None else read_section(code, *found, self._dialect)

    def _original_map(self, code: int) -> Map:
        return cast("Map | None", self._original(code)) or {}

    def _original_body(self) -> Body:
        payload = cast(bytes, self._payload)
        data = lone_data(payload)
        if data is not None:
            return Data([data])
        layout = self._scanned(payload)
        if not layout.body:
            # Spec 3.2 wants a body, but Proton and its kin send none where the application gave none.
            return Value(None)
        if layout.kind == DATA:
            return Data([data_at(payload, pos, end) for pos, end in layout.body])
        values = [guarded(read_value, payload, pos, end, self._dialect.table)[0] for pos, end in layout.body]
        return Sequence(cast("list[list[Any]]", values)) if layout.kind == SEQUENCE else Value(values[0])

    # --- encoding ---------------------------------------------------------------------------------------------

    def encode(self) -> bytes:
        """All bytes of the message. Sections that were decoded and have not changed keep the bytes they came in.

        Raises:
            EncodeError: a value that its place cannot have; `field` says which.
            DecodeError: the message was decoded from bytes that are not a message.
        """
        body = self._body
        if (
            self._payload is None
            and isinstance(body, bytes)
            and self._header is None
            and self._properties is None
            and not self._application_properties
            and not self._annotations
            and not self._delivery_annotations
            and not self._footer
        ):
            # Nothing but data, the commonest message of all: a fifth of the cost.
            return encode_message(body)
        return b"".join(
            (
                self._encode_section(HEADER, self._header),
                self._encode_section(DELIVERY_ANNOTATIONS, self._delivery_annotations),
                self._encode_section(MESSAGE_ANNOTATIONS, self._annotations),
                self._encode_section(PROPERTIES, self._properties),
                self._encode_section(APPLICATION_PROPERTIES, self._application_properties),
                *self._encode_body(),
                self._encode_section(FOOTER, self._footer),
            )
        )

    def _encode_section(self, code: int, value: Composite | Map | None) -> bytes:
        if self._payload is not None:
            found = self._scanned(self._payload).sections.get(code)
            if found is not None and (value is None or _unchanged(value, lambda: self._original(code))):
                return self._payload[found[0] : found[2]]
        if not value:
            return b""
        if isinstance(value, Composite):
            encoded = value.encode()
            return b"" if encoded in _EMPTY else encoded
        return encode_map_section(code, value)

    def _encode_body(self) -> list[bytes]:
        if self._payload is not None:
            layout = self._scanned(self._payload)
            if self._body is None or _unchanged(self._body, self._original_body, _encode_body):
                return [self._payload[layout.body_start : layout.body_end]]
        body = self._body
        return _encode_body(self._body_parts() if body is None else body)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Message):
            return NotImplemented
        return (
            self.message_format == other.message_format
            and self._body_parts() == other._body_parts()
            and self.header == other.header
            and self.delivery_annotations == other.delivery_annotations
            and self.annotations == other.annotations
            and self.properties == other.properties
            and self.application_properties == other.application_properties
            and self.footer == other.footer
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        try:
            body = self.body
            shown = _SHORT.repr(body[:_SHOWN] if isinstance(body, (bytes, str)) else body)
        except DecodeError as error:
            shown = f"<{error}>"
        return f"Message({shown})"


_EMPTY: Final = (Header().encode(), Properties().encode())


def encode_message(message: object) -> bytes:
    """The bytes of a message, or of a message with this body and nothing else.

    Raises:
        EncodeError: the body, or a value in a section, is nothing that AMQP can carry there.
    """
    if type(message) is bytes:
        size = len(message)
        if size < 256:
            return _DATA8[size] + message
        head, data = _data_section(message)
        return head + data
    if type(message) is str:
        return _VALUE_PREFIX + encode(message)
    if isinstance(message, Message):
        return message.encode()
    return Message(message).encode()
