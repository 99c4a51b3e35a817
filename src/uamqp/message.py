"""Messages of the uamqp 1.6 API: what `SendClientAsync` sends and `ReceiveClientAsync` receives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Self, cast

from . import constants, errors
from ._legacy import Text, fields
from ._message_body import Body, body_of, make_body, same_body
from ._message_body import DataBody as DataBody
from ._message_body import MessageBody as MessageBody
from ._message_body import SequenceBody as SequenceBody
from ._message_body import ValueBody as ValueBody
from ._message_fields import NO_VALUES, values_of
from ._message_fields import MessageHeader as MessageHeader
from ._message_fields import MessageProperties as MessageProperties
from .codec import message as codec
from .codec.hot_sections import lone_data
from .codec.primitives import LEGACY
from .codec.sections import (
    APPLICATION_PROPERTIES,
    DATA,
    DELIVERY_ANNOTATIONS,
    FOOTER,
    HEADER,
    MESSAGE_ANNOTATIONS,
    PROPERTIES,
    Layout,
    data_at,
    read_application_properties,
    read_property_fields,
    scan,
)
from .constants import MessageBodyType, MessageState
from .engine.delivery import IncomingDelivery

Settler = Callable[[errors.MessageResponse], None]


#: What is said of most messages, one of each for all of them; raised without the traceback of another time.
ACCEPTED: Final = errors.MessageAccepted()
ALREADY_SETTLED: Final = errors.MessageAlreadySettled()


_NO_HEADER: Final = codec.Header()

#: Stands for a section that nobody has set or asked for yet.
_UNREAD: Final[Any] = object()
#: What a message that was not received would have been decoded to: nothing.
_BLANK: Final = codec.Message()

# Members of enums, which take their time to be looked up.
_NEW: Final = MessageState.WaitingToBeSent
_UNSETTLED: Final = MessageState.ReceivedUnsettled
_SETTLED: Final = MessageState.ReceivedSettled


class Message:
    """A message to send, or one that was received.

    Args:
        body: str or bytes, or a list of these, is sent as data; anything else as a value; unless `body_type` says.
        properties: the standard properties; a dict of them will do.
        application_properties: the application's own properties; keys are text, values simple.
        annotations: message annotations; keys are text or int.
        header: how the message is to be carried.
        msg_format: the message format, 0 by default.
        message: for received messages: the decoded message.
        settler: for received messages: is called once with the `MessageResponse` that says what became of it.
        delivery_no: for received messages: the delivery-id.
        encoding: of str and bytes.
        body_type: what kind of body to make; raises TypeError for a body that this kind cannot hold.
        footer, delivery_annotations: maps, as `annotations`.

    Attributes:
        state: how far it has come.
        idle_time: milliseconds on the client's clock at which it was queued.
        retries: how often it was sent again.
        delivery_no, delivery_tag: of a received message: delivery-id and delivery-tag.
        on_send_complete: a function or coroutine function that is called once with `MessageSendResult` and an
            exception, or None, when it was sent or failed.
    """

    #: Of each message: Python is slow to read and write what the class has a member of an enum for.
    state: MessageState
    # What holds until something else is said: nearly all of it, so that to make a message costs little.
    idle_time: float = 0
    retries: int = 0
    delivery_no: int | None = None
    delivery_tag: bytes | None = None
    on_send_complete: Callable[[Any, Any], Any] | None = None
    _response: BaseException | None = None
    _settler: Callable[..., None] | None = None
    _msg_format: int | None = None
    #: Of a message that a receiver made: what it came in, decoded when that is needed.
    _delivery: IncomingDelivery | None = None
    _decoded: codec.Message | None = None
    #: Where the sections of the delivery lie, as soon as that was asked for.
    _layout: Layout | None = None
    #: The body; bytes stand for one section of data.
    _body_value: Body | bytes | None = None
    #: Whether there may be more to send than the body.
    _has_sections: bool = False
    _properties: Any = _UNREAD
    _header: MessageHeader | None = _UNREAD
    _application_properties: dict[Any, Any] | None = _UNREAD
    _annotations: dict[Any, Any] | None = _UNREAD
    _footer: dict[Any, Any] | None = _UNREAD
    _delivery_annotations: dict[Any, Any] | None = _UNREAD

    def __init__(
        self,
        body: Any = None,
        properties: MessageProperties | dict[str, Any] | None = None,
        application_properties: dict[Any, Any] | None = None,
        annotations: dict[Any, Any] | None = None,
        header: MessageHeader | None = None,
        msg_format: int | None = None,
        message: codec.Message | str | None = None,
        settler: Settler | None = None,
        delivery_no: int | None = None,
        encoding: str = "UTF-8",
        body_type: MessageBodyType | None = None,
        footer: dict[Any, Any] | None = None,
        delivery_annotations: dict[Any, Any] | None = None,
    ) -> None:
        if isinstance(message, str):
            # The order of the older documentation, in which the last four stand in the places from the seventh on.
            # Not told apart by `also_in_order`, which would cost each message a call.
            in_place: tuple[Any, ...] = (settler, delivery_no, None if isinstance(encoding, str) else encoding)
            by_name = (body_type, footer, delivery_annotations)
            body_type, footer, delivery_annotations = map(_either, in_place, by_name)
            encoding, message, settler, delivery_no = message, None, None, None
        if message is not None:
            self._encoding = encoding
            self._settler = settler
            self.delivery_no = delivery_no
            self._decoded = message
            self.state = _UNSETTLED
            if settler is None:
                self._is_settled()
            return
        self.state = _NEW
        self._encoding = encoding
        if body_type is None and type(body) is bytes:
            self._body_value = body
        else:
            self._body_value = make_body(body, body_type, encoding)
        if msg_format is not None:
            self._msg_format = msg_format
        if delivery_no is not None:
            self.delivery_no = delivery_no
        if (
            properties is not None
            or application_properties is not None
            or annotations is not None
            or header is not None
            or footer is not None
            or delivery_annotations is not None
        ):
            self._has_sections = True
            if isinstance(properties, dict) and properties:
                properties = MessageProperties(**properties, encoding=encoding)
            self._properties = properties
            self._header = header
            self._application_properties = application_properties
            self._annotations = annotations
            self._footer = footer
            self._delivery_annotations = delivery_annotations

    @classmethod
    def _received(
        cls,
        deliveries: Iterable[IncomingDelivery],
        settler: Callable[[IncomingDelivery, errors.MessageResponse], None] | None,
        encoding: str,
    ) -> list[Self]:
        """Received messages, without the detour of the constructor and with as few objects as can be.

        What a program holds thousands of is what Python's garbage collector goes through again and again: with an
        object for the decoded message, the settler and the body, half of the time to receive went there.

        Args:
            deliveries: what they came in.
            settler: settles those that did not come settled; None where all of them are.
            encoding: as of the constructor.
        """
        messages: list[Self] = []
        for delivery in deliveries:
            received = cls.__new__(cls)
            received._encoding = encoding
            received._delivery = delivery
            received.delivery_no = delivery.id
            received.delivery_tag = delivery.tag
            if settler is None or delivery.presettled:
                received._is_settled()
            else:
                received._settler = settler
                received.state = _UNSETTLED
            messages.append(received)
        return messages

    def _is_settled(self) -> None:
        self.state = _SETTLED
        self._response = ALREADY_SETTLED

    @property
    def _message(self) -> codec.Message | None:
        """The decoded message of one that was received, else None."""
        message = self._decoded
        if message is None and self._delivery is not None:
            delivery = self._delivery
            message = self._decoded = codec.Message.decode(delivery.payload, delivery.message_format, LEGACY)
        return message

    @classmethod
    def decode_from_bytes(cls, data: bytes | bytearray) -> Self:
        """The message in these bytes; it is settled.

        Raises:
            DecodeError: the bytes are not a message.
        """
        message = codec.Message.decode(bytes(data), 0, LEGACY)
        message.check()
        return cls(message=message)

    # --- sections ---------------------------------------------------------------------------------------------

    def _original(self) -> codec.Message:
        """The decoded message, of which a section is to be read."""
        return self._message or _BLANK

    def _present(self, section: int, value: dict[Any, Any]) -> dict[Any, Any] | None:
        """The content of a section, None where the message came without it."""
        return value if value or self._original().came_with(section) else None

    def _found(self, section: int) -> tuple[bytes, tuple[int, int, int]] | None:
        """The bytes that the message came in, and where in them a section lies; None where `_original` is to be asked.

        What most programs read is read there: that makes no codec message, and takes 0.8 of the time.
        """
        delivery = self._delivery
        if delivery is None:
            return None
        layout = self._layout
        if layout is None:
            layout = self._layout = scan(delivery.payload)
        place = layout.sections.get(section)
        return None if place is None else (delivery.payload, place)

    def _read_properties(self, original: codec.Message) -> MessageProperties | None:
        values = values_of(original.properties)
        if values == NO_VALUES and not original.came_with(PROPERTIES):
            return None
        return MessageProperties._received(values, self._encoding)

    def _read_header(self) -> MessageHeader | None:
        original = self._original()
        header = original.header
        return None if header == _NO_HEADER and not original.came_with(HEADER) else MessageHeader(header=header)

    @property
    def properties(self) -> Any:
        """The standard properties: `MessageProperties`, or None."""
        value = self._properties
        if value is _UNREAD:
            found = self._found(PROPERTIES)
            fields = None if found is None else read_property_fields(*found)
            if fields is not None:
                value = MessageProperties._of_fields(fields, self._encoding)
            else:
                value = self._read_properties(self._original())
            self._properties = value
        return value

    @properties.setter
    def properties(self, value: Any) -> None:
        if value and not isinstance(value, MessageProperties):
            raise TypeError("Properties must be a MessageProperties.")
        self._has_sections = True
        self._properties = value

    @property
    def header(self) -> MessageHeader | None:
        """How the message is to be carried, or None."""
        value = self._header
        if value is _UNREAD:
            value = self._header = self._read_header()
        return value

    @header.setter
    def header(self, value: MessageHeader | None) -> None:
        if value and not isinstance(value, MessageHeader):
            raise TypeError("Header must be a MessageHeader.")
        self._has_sections = True
        self._header = value

    @property
    def footer(self) -> dict[Any, Any] | None:
        """What can only be known once the body is, or None."""
        value = self._footer
        if value is _UNREAD:
            value = self._footer = self._present(FOOTER, self._original().footer)
        return value

    @footer.setter
    def footer(self, value: dict[Any, Any] | None) -> None:
        self._has_sections = True
        self._footer = _checked_dict(value, "Footer")

    @property
    def application_properties(self) -> dict[Any, Any] | None:
        """The application's own properties, or None; of a received message keys and text are bytes."""
        value = self._application_properties
        if value is _UNREAD:
            found = self._found(APPLICATION_PROPERTIES)
            if found is not None:
                value = read_application_properties(*found, LEGACY)
            else:
                value = self._present(APPLICATION_PROPERTIES, self._original().application_properties)
            self._application_properties = value
        return value

    @application_properties.setter
    def application_properties(self, value: dict[Any, Any] | None) -> None:
        self._has_sections = True
        self._application_properties = _checked_dict(value, "Application properties")

    @property
    def annotations(self) -> dict[Any, Any] | None:
        """The message annotations, or None; of a received message keys and text are bytes."""
        value = self._annotations
        if value is _UNREAD:
            value = self._annotations = self._present(MESSAGE_ANNOTATIONS, self._original().annotations)
        return value

    @annotations.setter
    def annotations(self, value: dict[Any, Any] | None) -> None:
        self._has_sections = True
        self._annotations = _checked_dict(value, "Message annotations")

    @property
    def message_annotations(self) -> dict[Any, Any] | None:
        """The same as `annotations`."""
        return self.annotations

    @property
    def delivery_annotations(self) -> dict[Any, Any] | None:
        """Annotations for the next node only, or None."""
        value = self._delivery_annotations
        if value is _UNREAD:
            value = self._delivery_annotations = self._present(
                DELIVERY_ANNOTATIONS, self._original().delivery_annotations
            )
        return value

    @delivery_annotations.setter
    def delivery_annotations(self, value: dict[Any, Any] | None) -> None:
        self._has_sections = True
        self._delivery_annotations = _checked_dict(value, "Delivery annotations")

    # --- body -------------------------------------------------------------------------------------------------

    @property
    def _body(self) -> Body | None:
        body = self._body_value
        if isinstance(body, bytes):
            body = self._body_value = DataBody([body], self._encoding)
        elif body is None and self._message is not None:
            body = self._body_value = body_of(self._message, self._encoding)
        return body

    def _body_data(self, kind: MessageBodyType) -> Any:
        body = self._body
        return body.data if body is not None and body._type is kind else None

    @property
    def data(self) -> Any:
        """The sections of a data body, a generator of bytes; None for other bodies."""
        return self._body_data(MessageBodyType.Data)

    @property
    def sequence(self) -> Any:
        """The sections of a sequence body, a generator of lists; None for other bodies."""
        return self._body_data(MessageBodyType.Sequence)

    @property
    def value(self) -> Any:
        """The value that is the body; None for other bodies."""
        return self._body_data(MessageBodyType.Value)

    def get_data(self) -> Any:
        """The body: a generator of bytes for data, a generator of lists for a sequence, else the value.

        Text in lists and values is bytes.
        """
        if self._body_value is None:
            # Without decoding, or at least without a body of our own, where it is one section of data.
            delivery, layout = self._delivery, self._layout
            data: bytes | None = None
            if delivery is not None:
                if layout is None:
                    data = lone_data(delivery.payload)
                elif layout.kind == DATA and len(layout.body) == 1:
                    data = data_at(delivery.payload, *layout.body[0])
            if data is None and (message := self._message) is not None:
                data = message.lone_section()
            if data is not None:
                return iter((data,))
        body = self._body
        return None if body is None else body.data

    def __str__(self) -> str:
        return "" if self._body is None else str(self._body)

    def __repr__(self) -> str:
        number = "" if self.delivery_no is None else f" {self.delivery_no}"
        return f"<{type(self).__name__}{number}, {self.state.name}>"

    # --- encoding ---------------------------------------------------------------------------------------------

    def get_message(self) -> codec.Message:
        """The message as the codec takes it."""
        message = self._message
        if message is None:
            message = codec.Message(message_format=self._msg_format or 0)
            self._write_changes(message, None)
        elif message._payload is not None:
            # Only what was changed since it was decoded is written anew, so that everything else keeps its types.
            received = codec.Message.decode(message._payload, message.message_format, LEGACY)
            original = Message(message=received, encoding=self._encoding)
            message = codec.Message.decode(message._payload, message.message_format)
            self._write_changes(message, original)
        return message

    def _write_changes(self, message: codec.Message, original: Message | None) -> None:
        encoding = self._encoding
        properties: Any = self.properties
        header = self.header
        body = self._body
        if properties and (original is None or str(properties) != str(original.properties)):
            message.properties = properties.get_properties_obj()
        if header and (original is None or str(header) != str(original.header)):
            message.header = header.get_header_obj()
        for name in ("application_properties", "annotations", "footer", "delivery_annotations"):
            value = getattr(self, name)
            if original is None or value != getattr(original, name):
                setattr(message, name, fields(value, encoding))
        if body is not None and (original is None or not same_body(body, original._body)):
            message.body = body._to_codec()

    def encode_message(self) -> bytes:
        """The bytes of the message.

        Raises:
            EncodeError: AMQP cannot carry a value in its place; it is a ValueError too.
        """
        return self._to_send()[0]

    def _to_send(self) -> tuple[bytes, int]:
        """The bytes of the message, and its message format."""
        payload = self._plain_payload()
        if payload is not None:
            return payload, 0
        message = self.get_message()
        return message.encode(), message.message_format

    def _plain_payload(self) -> bytes | None:
        """The bytes of a message that is nothing but one section of data, by far the commonest; None of others."""
        body = self._body_value
        if type(body) is bytes and not self._has_sections and not self._msg_format:
            return codec.encode_message(body)
        return None

    def get_message_encoded_size(self) -> int:
        """How many bytes the message has."""
        return len(self.encode_message())

    def gather(self) -> list[Message]:
        """The messages that this one is sent as.

        Raises:
            TypeError: it is a received message.
            MessageResponse: it was sent before, or failed: this says how.
        """
        if self.state in constants.RECEIVE_STATES:
            raise TypeError("Only new messages can be gathered.")
        if self._response is not None:
            raise self._response.with_traceback(None)
        return [self]

    # --- settling ---------------------------------------------------------------------------------------------

    @property
    def settled(self) -> bool:
        """Whether nothing more can be said about it."""
        return self._response is not None

    def _settle(self, response: errors.MessageResponse) -> bool:
        if self.state not in constants.RECEIVE_STATES:
            raise TypeError("Only received messages can be settled.")
        if self._response is not None:
            return False
        settler = self._settler
        if settler is None:
            raise RuntimeError("Unable to settle a copy of a received message; settle the message itself.")
        self._response = response
        try:
            if self._delivery is not None:
                settler(self._delivery, response)
            else:
                settler(response)
        except RuntimeError:
            # The link is gone: nothing more can be said.
            raise
        except BaseException:
            # Something else can.
            self._response = None
            raise
        self.state = _SETTLED
        return True

    def accept(self) -> bool:
        """The message was processed.

        `accept`, `reject`, `release` and `modify` may be called in any thread.

        Returns:
            True; False where the message is settled already, which changes nothing.

        Raises:
            TypeError: it was not received.
            RuntimeError: its link is gone, so the peer cannot be told.
        """
        delivery, settler = self._delivery, self._settler
        if delivery is None or settler is None or self._response is not None:
            return self._settle(ACCEPTED)
        # `_settle` in line.
        self._response = ACCEPTED
        try:
            settler(delivery, ACCEPTED)
        except RuntimeError:
            raise
        except BaseException:
            self._response = None
            raise
        self.state = _SETTLED
        return True

    def reject(
        self, condition: Text | None = None, description: Text | None = None, info: dict[Any, Any] | None = None
    ) -> bool:
        """The message is invalid; the arguments tell the sender why. See `accept`."""
        return self._settle(
            errors.MessageRejected(condition=condition, description=description, info=info, encoding=self._encoding)
        )

    def release(self) -> bool:
        """The message was not and will not be processed here; others may have it. See `accept`."""
        return self._settle(errors.MessageReleased())

    def modify(self, failed: bool, deliverable: bool, annotations: dict[Any, Any] | None = None) -> bool:
        """The message goes back changed. See `accept`.

        Args:
            failed: count this as a failed delivery.
            deliverable: do *not* deliver it here again: this is the undeliverable-here of the specification, under
                the name that it has always had in this API.
            annotations: message annotations to set.
        """
        return self._settle(
            errors.MessageModified(failed, deliverable, annotations=annotations, encoding=self._encoding)
        )

    # --- copies -----------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        # A settler and a delivery belong to a link; a copy in another process has none.
        state["_settler"] = state["_delivery"] = state["_layout"] = None
        message = self._message
        if message is not None:
            state["_decoded"] = (message.encode(), message.message_format)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._decoded is not None:
            payload, message_format = cast("tuple[bytes, int]", self._decoded)
            self._decoded = codec.Message.decode(payload, message_format, LEGACY)


def _either(first: Any, second: Any) -> Any:
    return second if first is None else first


def _checked_dict(value: Any, name: str) -> Any:
    if value and not isinstance(value, dict):
        raise TypeError(f"{name} must be a dictionary.")
    return value


def _section_size(data: bytes) -> int:
    """Bytes of a data section with these in it (spec 3.2.6)."""
    return len(data) + (5 if len(data) < 256 else 8)


def _make_room() -> None:
    """Make the first message one that has all attributes.

    CPython gives every instance room for the attributes that the first ones of the class had; one more, and the
    instance gets a dict of its own. With this, sending costs 15 % less.
    """
    first = Message()
    for name in Message.__annotations__:
        setattr(first, name, getattr(first, name))


_make_room()


class BatchMessage(Message):
    """Many messages that are sent as one, or as few: the batches of the Azure services (message format 0x80013700).

    Args:
        data: the messages: each a body, a `Message`, or an object with a `Message` as its attribute `message`.
        properties, annotations, header: of the message that is sent.
        application_properties: for each of the messages in it that has none of its own.
        multi_messages: send several messages where they do not fit into one.
        encoding: of str.

    Attributes:
        batch_format: the message format.
        max_message_length: bytes of the largest message to send.
        size_offset: bytes of it to leave free.
    """

    batch_format = constants.BATCH_MESSAGE_FORMAT
    max_message_length = constants.MAX_MESSAGE_LENGTH_BYTES
    size_offset = 0

    def __init__(
        self,
        data: Iterable[Any] | None = None,
        properties: MessageProperties | None = None,
        application_properties: dict[Any, Any] | None = None,
        annotations: dict[Any, Any] | None = None,
        header: MessageHeader | None = None,
        multi_messages: bool = False,
        encoding: str = "UTF-8",
    ) -> None:
        super().__init__(
            None, properties, application_properties, annotations, header, self.batch_format, encoding=encoding
        )
        self._body_value = None
        self._multi_messages = multi_messages
        self._body_gen: Any = data

    @property
    def data(self) -> Any:
        """The messages, as they were given."""
        return self._body_gen

    def get_data(self) -> Any:
        return self.data

    def get_message(self) -> codec.Message:
        """The one message that is sent. Raises ValueError where there are several."""
        (message,) = self.gather()
        return message.get_message()

    def gather(self) -> list[Message]:
        """The messages to send: one, or several with `multi_messages`.

        Raises:
            MessageContentTooLarge: one message does not hold all, or, with `multi_messages`, even a single one.
        """
        if isinstance(self._body_gen, Iterator):
            # It can be gone through once, and this may be asked again.
            self._body_gen = list(self._body_gen)
        items = [self._encoded(item) for item in self._body_gen or ()]
        # Without items the envelope has an empty section.
        envelope = self._envelope([]).get_message_encoded_size() - _section_size(b"")
        room = self.max_message_length - self.size_offset
        batches: list[list[bytes]] = [[]]
        size = envelope
        for item in items:
            size += _section_size(item)
            if size > room and self._multi_messages and batches[-1]:
                batches.append([])
                size = envelope + _section_size(item)
            if size > room:
                raise errors.MessageContentTooLarge
            batches[-1].append(item)
        return [self._envelope(batch) for batch in batches]

    def _envelope(self, items: list[bytes]) -> Message:
        message = Message(
            items,
            cast(MessageProperties, self.properties),
            annotations=self.annotations,
            header=self.header,
            msg_format=self.batch_format,
            encoding=self._encoding,
            body_type=MessageBodyType.Data,
        )
        message.on_send_complete = self.on_send_complete
        return message

    def _encoded(self, item: Any) -> bytes:
        """One of the messages in the batch, as the bytes of its section."""
        message = getattr(item, "message", item)
        if not isinstance(message, Message):
            message = Message(item, application_properties=self.application_properties, encoding=self._encoding)
        elif not message.application_properties and self.application_properties:
            message.application_properties = self.application_properties
        return message.encode_message()
