"""TLS contexts, strict by default: TLS 1.2 or newer, certificates and host names always checked."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable

from ..exceptions import AddressError

Path = str | os.PathLike[str]


def client_context(
    *, ca_file: Path | None = None, cert_file: Path | None = None, key_file: Path | None = None
) -> ssl.SSLContext:
    """A context for clients.

    Args:
        ca_file: PEM file of the only authorities to trust; None trusts those of the system.
        cert_file, key_file: PEM files of a client certificate and its key (which may be in the same file).

    Raises:
        AddressError: a file is missing or is not what it should be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is None:
        context.load_default_certs()
    else:
        _load(lambda: context.load_verify_locations(os.fspath(ca_file)), "CA file", ca_file)
    if cert_file is not None:
        _load_certificate(context, cert_file, key_file)
    return context


def server_context(cert_file: Path, key_file: Path | None = None, *, client_ca: Path | None = None) -> ssl.SSLContext:
    """A context for servers; `client_ca` demands client certificates of that authority.

    Raises:
        AddressError: a file is missing or is not what it should be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_certificate(context, cert_file, key_file)
    if client_ca is not None:
        _load(lambda: context.load_verify_locations(os.fspath(client_ca)), "CA file", client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _load_certificate(context: ssl.SSLContext, cert_file: Path, key_file: Path | None) -> None:
    # With a password, even an empty one, OpenSSL does not stop to ask for it on the terminal.
    _load(lambda: context.load_cert_chain(os.fspath(cert_file), key_file, password=""), "certificate", cert_file)


def _load(load: Callable[[], None], what: str, path: Path) -> None:
    try:
        load()
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or str(error)
        raise AddressError(f"cannot use the {what} {os.fspath(path)!r}: {reason}") from error
