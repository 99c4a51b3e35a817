"""Sources and targets: where the messages of a link come from and go to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import ParseResult, unquote, urlparse

from ._legacy import incoming, octets, outgoing, text
from .codec import definitions
from .codec.values import Described, Symbol
from .constants import STRING_FILTER
from .transport.address import node_address, redacted


class Address:
    """The address of a node: a URL, or a name alone.

    What goes on the wire depends on who makes it. An `Address` made by a program goes out as that program wrote it:
    of a URL ``scheme://host/path``, a name as it is. An address that a client or link makes from a str or bytes is
    the name of the node: the path of the URL without its first slash, percent-decoded, in the form that the peer
    wants (see `uamqp.transport.address.node_address`).

    Args:
        address: str or bytes.
        encoding: of bytes.

    Attributes:
        parsed_address: the parts of the URL.
        durable: 0 nothing, 1 its configuration, 2 also the state of deliveries survives the link; None: not said.
        expiry_policy: when the terminus ends: ``"session-end"`` and so on; None: not said.
        timeout: seconds that it outlives that; None: not said.
        dynamic: whether the peer shall make a node; None: not said.
        distribution_mode: ``"move"`` or ``"copy"``; None: not said.

    Raises:
        ValueError: there is no address.
    """

    #: Whether a URL without a path can be used.
    _may_be_root: bool = True

    def __init__(self, address: str | bytes, encoding: str = "UTF-8") -> None:
        given = text(address, encoding) if isinstance(address, str | bytes) else ""
        self._encoding = encoding
        self._text = given
        self.parsed_address: ParseResult = urlparse(given)
        self._verbatim = True
        self._filters: dict[bytes, Any] = {}
        self.durable: int | None = None
        self.expiry_policy: str | None = None
        self.timeout: int | None = None
        self.dynamic: bool | None = None
        self.distribution_mode: str | None = None
        if not (self._node.strip("/") or (self._may_be_root and self._is_url)):
            raise ValueError(
                f"Invalid {type(self).__name__} address: {redacted(given)!r}. It should be a URL with a path, such as "
                "amqps://host/queue, or the name of a node"
            )

    @classmethod
    def for_node(cls, address: Address | str | bytes, encoding: str = "UTF-8") -> Address:
        """The address as a client or link takes it: an Address as it is, text as the name of a node."""
        if isinstance(address, Address):
            return address
        made = cls(address, encoding)
        made._verbatim = False
        return made

    @classmethod
    def from_c_obj(cls, c_value: Any, encoding: str = "UTF-8") -> Self:
        """The address of a terminus in an attach frame; ``""`` where it has none."""
        made = cls.__new__(cls)
        made._encoding = encoding
        made._verbatim = True
        made._filters = {}
        made._text = str(c_value.address or "")
        made.parsed_address = urlparse(made._text)
        made.durable = c_value.durable
        made.expiry_policy = c_value.expiry_policy
        made.timeout = c_value.timeout
        made.dynamic = c_value.dynamic
        made.distribution_mode = getattr(c_value, "distribution_mode", None)
        return made

    @property
    def _is_url(self) -> bool:
        return bool(self.parsed_address.scheme and self.parsed_address.netloc)

    @property
    def _node(self) -> str:
        """The URL's path, or the name that is not a URL."""
        return self.parsed_address.path if self._is_url else self._text

    @property
    def hostname(self) -> str | None:
        """The host of the URL."""
        return self.parsed_address.hostname

    @property
    def scheme(self) -> str | None:
        """The scheme of the URL."""
        return self.parsed_address.scheme or None

    @property
    def username(self) -> str | None:
        """The user in the URL, percent-encoded as it is there."""
        return self.parsed_address.username

    @property
    def password(self) -> str | None:
        """The password in the URL, percent-encoded as it is there."""
        return self.parsed_address.password

    @property
    def address(self) -> str:
        """The address as the program wrote it: ``scheme://host/path`` of a URL, a name as it is."""
        if not self._is_url:
            return self._text
        return f"{self.parsed_address.scheme}://{self.hostname}{self._node}"

    def wire_address(self, peer_properties: Mapping[Any, Any]) -> str:
        """What goes into the terminus, given the connection properties of the peer."""
        if self._verbatim:
            return self.address
        name = unquote(self._node.removeprefix("/")) if self._is_url else self._text
        return node_address(name, peer_properties)

    def _terms(self, peer_properties: Mapping[Any, Any]) -> dict[str, Any]:
        return {
            "address": self.wire_address(peer_properties),
            "durable": self.durable,
            "expiry_policy": None if self.expiry_policy is None else text(self.expiry_policy, self._encoding),
            "timeout": self.timeout,
            "dynamic": self.dynamic,
        }

    def to_target(self, peer_properties: Mapping[Any, Any]) -> definitions.Target:
        """The target for an attach frame."""
        return definitions.Target(**self._terms(peer_properties))

    def to_source(self, peer_properties: Mapping[Any, Any]) -> definitions.Source:
        """The source for an attach frame."""
        return definitions.Source(
            **self._terms(peer_properties),
            distribution_mode=None if self.distribution_mode is None else text(self.distribution_mode, self._encoding),
            filter={Symbol(text(key)): value for key, value in self._filters.items()} or None,
        )

    def __str__(self) -> str:
        return redacted(self._text)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class Target(Address):
    """Where messages go to."""

    _may_be_root = False


class Source(Address):
    """Where messages come from.

    Attributes:
        filter_key: the name of the filter that was set last, or None.
    """

    _may_be_root = False

    def __init__(self, address: str | bytes, encoding: str = "UTF-8") -> None:
        super().__init__(address, encoding)
        self.filter_key: bytes | None = None

    @classmethod
    def from_c_obj(cls, c_value: Any, encoding: str = "UTF-8") -> Self:
        made = super().from_c_obj(c_value, encoding)
        made.filter_key = None
        made._filters = {octets(key): value for key, value in (c_value.filter or {}).items()}
        return made

    def get_filter(self, name: str | bytes = STRING_FILTER) -> Any:
        """The value of a filter without its descriptor, text as bytes; None where it is not set."""
        return incoming(outgoing(self._filters.get(octets(name, self._encoding))))

    def set_filter(
        self, value: Any, name: str | bytes = STRING_FILTER, descriptor: str | bytes | None = STRING_FILTER
    ) -> None:
        """Let the node send only what passes a filter; replaces the filter that was set before.

        Args:
            value: the filter, such as the text of a selector; None asks for the filter without saying more.
            name: the name of the filter.
            descriptor: what kind of filter it is; None sends the value alone.
        """
        sent = outgoing(value, self._encoding)
        if descriptor is not None and value is not None:
            sent = Described(Symbol(text(descriptor, self._encoding)), sent)
        self.filter_key = octets(name, self._encoding)
        self._filters = {self.filter_key: sent}
