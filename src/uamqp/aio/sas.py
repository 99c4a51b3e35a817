"""Shared access signatures: tokens that a program makes itself from a key, as the Azure services take them."""

from __future__ import annotations

import base64
import hmac
import time
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final
from urllib.parse import quote_plus

from .cbs import Token

KIND: Final = "servicebus.windows.net:sastoken"


def sign(scope: bytes, key_name: bytes, key: bytes, expires_at: int) -> bytes:
    """The signature as text.

    Args:
        scope: what it is for, and `key_name`, the name of the key: percent-encoded.
        key: the key.
        expires_at: until when it is good, in seconds since 1970-01-01 UTC.
    """
    expires = b"%d" % expires_at
    digest = base64.b64encode(hmac.digest(key, scope + b"\n" + expires, sha256))
    # In lower case, because services exist that compare signatures as text.
    signature = digest.replace(b"+", b"%2b").replace(b"/", b"%2f").replace(b"=", b"%3d")
    return b"SharedAccessSignature sr=%s&sig=%s&se=%s&skn=%s" % (scope, signature, expires, key_name)


@dataclass(frozen=True)
class SharedAccessKey:
    """A key of Azure Service Bus, Event Hubs or IoT Hub, which makes tokens for `Connection.authorize`.

    Attributes:
        name: the name of the key, also called policy.
        key: the key, as the service shows it.
        life: seconds for which a token is good.
    """

    name: str
    key: str = field(repr=False)
    life: float = 3600.0

    def __call__(self, audience: str) -> Token:
        """A new token."""
        expires_at = int(time.time() + self.life)
        text = sign(quote_plus(audience).encode(), quote_plus(self.name).encode(), self.key.encode(), expires_at)
        return Token(text.decode(), KIND, float(expires_at))
