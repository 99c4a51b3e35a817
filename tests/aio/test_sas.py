"""Shared access signatures, and a broker that looks at them."""

from __future__ import annotations

import time

import pytest

from uamqp.aio import Happening, Recovery, RecoveryEvent, SharedAccessKey, connect
from uamqp.aio.sas import sign
from uamqp.broker import Azure, Broker
from uamqp.exceptions import TokenError

from .peers import BOUND, eventually


def test_signature() -> None:
    """Worked out with the tools of OpenSSL: HMAC with SHA-256 of the scope, a line feed and the time."""
    assert sign(b"sb%3A%2F%2Fhost%2Forders", b"policy", b"key", 1_900_000_000) == (
        b"SharedAccessSignature sr=sb%3A%2F%2Fhost%2Forders"
        b"&sig=IvHAudkh2bm%2ba0tQGwnb4FBS8p9r%2fy4k5Fp%2bIGHEs%2b8%3d&se=1900000000&skn=policy"
    )


def test_a_key_does_not_show() -> None:
    key = SharedAccessKey("policy", "s3cret")
    token = key("sb://host/orders")
    assert "s3cret" not in repr(key)
    assert "SharedAccessSignature" not in repr(token)
    assert token.kind == "servicebus.windows.net:sastoken"
    assert token.expires_at == pytest.approx(time.time() + 3600, abs=60)


async def test_a_broker_that_wants_tokens() -> None:
    events: list[RecoveryEvent] = []
    recovery = Recovery(initial_delay=0.001, max_delay=0.01, on_event=events.append)
    async with Broker(personality=Azure(keys={"policy": "s3cret"})) as broker:
        async with connect(broker.url, recovery=recovery, timeout=BOUND) as connection:
            audience = f"sb://127.0.0.1:{broker.port}/orders"
            with pytest.raises(TokenError):
                await connection.authorize(audience, SharedAccessKey("policy", "wrong"))
            await connection.authorize(audience, SharedAccessKey("policy", "s3cret"))
            async with connection.sender("orders") as sender:
                await sender.send(b"before")
                broker.drop_connections()
                await eventually(lambda: events and events[-1].what is Happening.RECOVERED)
                await sender.send(b"after")
            async with connection.receiver("orders") as receiver:
                assert [(await receiver.receive()).body for _ in range(2)] == [b"before", b"after"]
