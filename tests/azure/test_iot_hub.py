"""azure-iot-hub, which has no other AMQP stack than this one, sends to devices through the broker."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.iot.hub.iothub_amqp_client import IoTHubAmqpClientSharedAccessKeyAuth, IoTHubAmqpClientTokenAuth
from tools.brokers.certificates import issue, make_ca

import uamqp
from uamqp.broker import Broker

DEVICEBOUND = "messages/devicebound"


class Credential:
    """Stands for an account of Azure."""

    def get_token(self, scope: str) -> object:
        return type("Token", (), {"token": f"token for {scope}", "expires_on": int(time.time()) + 3600})


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """A broker with a certificate that this process trusts."""
    ca_file = make_ca(tmp_path)
    certificate, key = issue(tmp_path, "server")
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    with Broker.running(tls_cert=certificate, tls_key=key) as broker:
        yield broker


def received(hub: Broker) -> uamqp.Message:
    message = uamqp.receive_message(f"amqps://localhost:{hub.port}/{DEVICEBOUND}")
    assert message is not None
    return message


def test_a_shared_access_key(hub: Broker) -> None:
    key = base64.b64encode(b"s3cret").decode()
    client = IoTHubAmqpClientSharedAccessKeyAuth(f"localhost:{hub.port}", "service", key)
    client.send_message_to_device("device-1", "turn on", {"contentType": "text/plain", "color": "red"})
    client.send_message_to_device("device-2", "turn off", {"messageId": "mine"})
    client.disconnect_sync()
    first, second = received(hub), received(hub)
    assert b"".join(first.get_data()) == b"turn on"
    assert first.properties.to == b"/devices/device-1/messages/devicebound"
    assert first.properties.content_type == b"text/plain"
    assert first.application_properties == {b"color": b"red"}
    assert second.properties.message_id == b"mine"


def test_a_token(hub: Broker) -> None:
    client = IoTHubAmqpClientTokenAuth(f"localhost:{hub.port}", Credential())
    client.send_message_to_device("device", "hello", {})
    client.disconnect_sync()
    assert str(received(hub)) == "hello"
