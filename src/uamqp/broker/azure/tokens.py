"""Shared access signatures, as the SDKs put them to ``$cbs``."""

from __future__ import annotations

import hmac
import time
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, unquote

if TYPE_CHECKING:
    from ..options import TokenCheck

_PREFIX: Final = "SharedAccessSignature "


def token_check(keys: Mapping[str, str]) -> TokenCheck | None:
    """A check that tokens are signed with one of these keys, by name, and not expired; None where there are none."""
    if not keys:
        return None

    def check(kind: str, audience: str, token: str) -> str | None:
        if not token.startswith(_PREFIX):
            return "the token is not a shared access signature"
        fields = {name: values[0] for name, values in parse_qs(token.removeprefix(_PREFIX)).items()}
        resource, signature, expiry, name = (fields.get(key, "") for key in ("sr", "sig", "se", "skn"))
        # The signature is over the resource as it is in the token, still quoted.
        quoted = token.partition("sr=")[2].partition("&")[0]
        expected = hmac.new(keys.get(name, "").encode(), f"{quoted}\n{expiry}".encode(), sha256).digest()
        if name not in keys or not hmac.compare_digest(b64encode(expected), signature.encode()):
            return "the signature of the token is not valid"
        if not expiry.isdecimal() or int(expiry) < time.time():
            return "the token is expired"
        if not _covers(unquote(resource), audience):
            return "the token is for another resource"
        return None

    return check


def _covers(resource: str, audience: str) -> bool:
    return f"{_bare(audience)}/".startswith(f"{_bare(resource)}/")


def _bare(uri: str) -> str:
    return uri.lower().rpartition("://")[2].rstrip("/")
