"""A certificate authority for tests and certificates from it, made on the spot with the `openssl` command.

    ca = make_ca(folder)                                    # folder/ca.pem
    cert, key = issue(folder, "server")                     # for localhost, 127.0.0.1 and ::1
    cert, key = issue(folder, "alice", hosts=[])            # a client's: the subject is CN=alice

All files are PEM. The keys are elliptic (P-256), not encrypted, and readable by their owner only.
"""

from __future__ import annotations

import ipaddress
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .commands import need
from .errors import BrokerError

LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")

_REQUEST = """\
[req]
prompt = no
distinguished_name = name
[name]
CN = {common_name}
"""

_CA = """\
[extensions]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
"""

_LEAF = """\
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


def make_ca(directory: Path, *, common_name: str = "uamqp test CA", days: int = 30) -> Path:
    """Make an authority in `directory`: ca.pem, which is returned, and ca.key."""
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "ca.cnf"
    config.write_text(_REQUEST.format(common_name=common_name) + _CA)
    certificate, key = directory / "ca.pem", directory / "ca.key"
    _make_key(key)
    options = ("-config", config, "-extensions", "extensions", "-days", days)
    _openssl("req", "-x509", "-new", "-key", key, *options, "-out", certificate)
    return certificate


def issue(
    directory: Path, name: str, hosts: Sequence[str] = LOCAL_HOSTS, *, common_name: str | None = None, days: int = 30
) -> tuple[Path, Path]:
    """Issue a certificate from the authority in `directory`: (name.pem, name.key).

    `hosts` are the names and addresses it is good for; a client's certificate needs none. The subject's common
    name is `common_name`, else `name`. A negative number of `days` gives one that is out of date.
    """
    certificate, key, request, config, extensions = (
        directory / f"{name}.{suffix}" for suffix in ("pem", "key", "csr", "cnf", "ext")
    )
    config.write_text(_REQUEST.format(common_name=common_name or name))
    names = f"subjectAltName = {', '.join(map(_alternative_name, hosts))}\n" if hosts else ""
    extensions.write_text(_LEAF + names)
    _make_key(key)
    _openssl("req", "-new", "-key", key, "-config", config, "-out", request)
    authority = ("-CA", directory / "ca.pem", "-CAkey", directory / "ca.key", "-CAcreateserial")
    _openssl("x509", "-req", "-in", request, *authority, "-days", days, "-extfile", extensions, "-out", certificate)
    return certificate, key


def _alternative_name(host: str) -> str:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return f"DNS:{host}"
    return f"IP:{host}"


def _make_key(path: Path) -> None:
    path.touch(mode=0o600)
    _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path)


def _openssl(*arguments: object) -> None:
    need("openssl", "it makes the certificates; install the package 'openssl'")
    done = subprocess.run(["openssl", *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    if done.returncode:
        raise BrokerError(f"openssl {arguments[0]} failed: {done.stderr.decode(errors='replace').strip()}")
