from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import warnings
from pathlib import Path

import pytest

import uamqp.aio
import uamqp.sync
from uamqp.broker import Broker
from uamqp.exceptions import AddressError, ConnectionLost
from uamqp.transport.tls import client_context, server_context

from ..aio.conftest import Serve
from ..aio.peers import BOUND, threaded_server

FACES = pytest.mark.parametrize("face", ["aio", "sync"])


def try_to_connect(face: str, url: str, **options: object) -> str:
    """Connect with either driver and close again; who the peer says it is."""
    options = {"timeout": BOUND, "connect_timeout": BOUND, **options}
    if face == "sync":
        with uamqp.sync.connect(url, **options) as connection:  # type: ignore[arg-type]
            return connection.remote_container_id

    async def run() -> str:
        async with uamqp.aio.connect(url, **options) as connection:  # type: ignore[arg-type]
            return connection.remote_container_id

    return asyncio.run(run())


def tls_broker(certificates: Path, name: str = "server", **options: object) -> object:
    return Broker.running(tls_cert=certificates / f"{name}.pem", tls_key=certificates / f"{name}.key", **options)


@FACES
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_certificate_of_the_authority_is_good(face: str, host: str, certificates: Path) -> None:
    with tls_broker(certificates) as broker:  # type: ignore[attr-defined]
        url = f"amqps://{host}:{broker.port}"
        assert try_to_connect(face, url, ca_file=str(certificates / "ca.pem")).startswith("uamqp-broker")


@FACES
@pytest.mark.parametrize(
    ("server", "ca"),
    [("elsewhere", "ca.pem"), ("expired", "ca.pem"), ("server", "other/ca.pem"), ("server", None)],
    ids=["wrong host", "expired", "wrong authority", "authority of the system"],
)
def test_other_certificates_are_not(face: str, server: str, ca: str | None, certificates: Path) -> None:
    with tls_broker(certificates, server) as broker:  # type: ignore[attr-defined]
        ca_file = None if ca is None else str(certificates / ca)
        with pytest.raises(ConnectionLost, match="CERTIFICATE_VERIFY_FAILED"):
            try_to_connect(face, broker.url, ca_file=ca_file)


@FACES
def test_hostname_is_what_the_certificate_must_be_for(face: str, certificates: Path) -> None:
    with tls_broker(certificates, "elsewhere") as broker:  # type: ignore[attr-defined]
        ca_file = str(certificates / "ca.pem")
        assert try_to_connect(face, broker.url, ca_file=ca_file, hostname="elsewhere.example")


@FACES
def test_a_context_of_the_caller_is_used_as_it_is(face: str, certificates: Path) -> None:
    context = ssl.create_default_context(cafile=certificates / "ca.pem")
    context.check_hostname = False
    with tls_broker(certificates, "elsewhere") as broker:  # type: ignore[attr-defined]
        assert try_to_connect(face, broker.url, ssl_context=context)


@FACES
def test_client_certificates_authenticate(face: str, certificates: Path) -> None:
    with tls_broker(certificates, tls_client_ca=certificates / "ca.pem") as broker:  # type: ignore[attr-defined]
        files = {"cert_file": str(certificates / "alice.pem"), "key_file": str(certificates / "alice.key")}
        assert try_to_connect(face, broker.url, ca_file=str(certificates / "ca.pem"), **files)
        # With TLS 1.3 the refusal comes behind the handshake.
        with pytest.raises(ConnectionLost):
            try_to_connect(face, broker.url, ca_file=str(certificates / "ca.pem"))


def test_a_client_certificate_is_offered_as_sasl_external(certificates: Path) -> None:
    context = server_context(
        certificates / "server.pem", certificates / "server.key", client_ca=certificates / "ca.pem"
    )
    with threaded_server(ssl=context) as server:
        files = {"cert_file": str(certificates / "alice.pem"), "key_file": str(certificates / "alice.key")}
        try_to_connect("sync", server.url, ca_file=str(certificates / "ca.pem"), **files)
        assert server.peer.credentials == [("EXTERNAL", b"")]


@FACES
def test_older_tls_is_refused(face: str, certificates: Path) -> None:
    context = server_context(certificates / "server.pem", certificates / "server.key")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with threaded_server(ssl=context) as server, pytest.raises(ConnectionLost, match=r"no TLS|the peer hung up"):
        try_to_connect(face, server.url, ca_file=str(certificates / "ca.pem"))


def test_contexts_are_strict(certificates: Path) -> None:
    client = client_context()
    assert client.minimum_version is ssl.TLSVersion.TLSv1_2
    assert client.check_hostname
    assert client.verify_mode is ssl.CERT_REQUIRED
    server = server_context(certificates / "server.pem", certificates / "server.key")
    assert server.minimum_version is ssl.TLSVersion.TLSv1_2
    assert server.verify_mode is ssl.CERT_NONE


def test_an_authority_of_its_own_is_the_only_one(certificates: Path) -> None:
    authorities = client_context(ca_file=certificates / "ca.pem").get_ca_certs()
    assert [dict(part[0] for part in a["subject"])["commonName"] for a in authorities] == ["uamqp test CA"]  # type: ignore[misc]


@pytest.mark.parametrize("content", [None, "not PEM"])
def test_files_that_cannot_be_used(content: str | None, tmp_path: Path, certificates: Path) -> None:
    path = tmp_path / "file.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(AddressError, match=r"cannot use the CA file '.*file.pem': "):
        client_context(ca_file=path)
    with pytest.raises(AddressError, match=r"cannot use the certificate '.*file.pem': "):
        client_context(cert_file=path)
    with pytest.raises(AddressError, match=r"cannot use the certificate '.*file.pem': "):
        server_context(path)
    with pytest.raises(AddressError, match=r"cannot use the CA file '.*file.pem': "):
        server_context(certificates / "server.pem", certificates / "server.key", client_ca=path)


def test_a_key_that_belongs_to_another_certificate(certificates: Path) -> None:
    with pytest.raises(AddressError, match="cannot use the certificate"):
        client_context(cert_file=certificates / "alice.pem", key_file=certificates / "server.key")


def test_an_encrypted_key_is_an_error_and_no_question(certificates: Path, tmp_path: Path) -> None:
    key = tmp_path / "encrypted.key"
    command = ["openssl", "pkcs8", "-topk8", "-in", certificates / "alice.key", "-out", key, "-passout", "pass:s3cret"]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(AddressError, match="cannot use the certificate"):
        client_context(cert_file=certificates / "alice.pem", key_file=key)


@FACES
def test_amqps_never_speaks_in_the_clear(face: str) -> None:
    """A peer that answers the TLS greeting with a plain AMQP header gets nothing but an end of the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        received = bytearray()

        async def serve() -> None:
            loop = asyncio.get_running_loop()
            listener.setblocking(False)
            stream, _ = await loop.sock_accept(listener)
            with stream:
                await loop.sock_sendall(stream, b"AMQP\0\1\0\0")
                while data := await loop.sock_recv(stream, 4096):
                    received.extend(data)

        url = f"amqps://127.0.0.1:{listener.getsockname()[1]}"

        async def run() -> None:
            server = asyncio.create_task(serve())
            with pytest.raises(ConnectionLost, match="no TLS"):
                await asyncio.to_thread(try_to_connect, face, url)
            try:
                await asyncio.wait_for(server, BOUND)
            except ConnectionResetError:
                pass

        asyncio.run(run())
    assert received[:1] == b"\x16"
    assert b"AMQP" not in received


@FACES
def test_a_peer_that_never_answers_the_greeting(face: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"amqps://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(TimeoutError, match=r"within 0\.1 s"):
            try_to_connect(face, url, connect_timeout=0.1)


@FACES
def test_large_messages_over_tls(face: str, certificates: Path) -> None:
    body = bytes(range(256)) * 20_000
    with tls_broker(certificates) as broker:  # type: ignore[attr-defined]
        options = {"ca_file": str(certificates / "ca.pem"), "timeout": BOUND}
        if face == "sync":
            with uamqp.sync.connect(broker.url, **options) as connection:
                connection.sender("q").send(body)
                delivery = connection.receiver("q").receive()
                assert delivery.body == body
                delivery.accept()
            return

        async def run() -> None:
            async with uamqp.aio.connect(broker.url, **options) as connection:
                sender = await connection.sender("q")
                await sender.send(body)
                receiver = await connection.receiver("q")
                delivery = await receiver.receive()
                assert delivery.body == body
                delivery.accept()

        asyncio.run(run())


async def test_a_peer_that_cuts_tls_without_a_word(serve: Serve, certificates: Path) -> None:
    context = server_context(certificates / "server.pem", certificates / "server.key")
    server = await serve(ssl=context)
    async with uamqp.aio.connect(server.url, ca_file=str(certificates / "ca.pem")) as connection:
        server.peer.cut()
        await connection.wait_closed(timeout=BOUND)
        assert isinstance(connection.error, ConnectionLost)
