from __future__ import annotations

import asyncio

import pytest

from uamqp.aio import connect
from uamqp.codec.definitions import Error
from uamqp.codec.values import Symbol
from uamqp.exceptions import (
    InDoubt,
    LinkDetached,
    LinkRedirected,
    LinkStolen,
    LocalProtocolError,
    MessageTooLarge,
    NotSent,
)

from .conftest import Serve
from .peers import BOUND, Peer, eventually


@pytest.mark.parametrize(
    ("condition", "error"),
    [
        ("amqp:link:detach-forced", LinkDetached),
        ("amqp:link:stolen", LinkStolen),
        ("amqp:link:redirect", LinkRedirected),
        ("amqp:link:message-size-exceeded", MessageTooLarge),
        (None, LinkDetached),
    ],
)
async def test_what_the_peer_says_when_it_detaches(
    serve: Serve, condition: str | None, error: type[LinkDetached]
) -> None:
    server = await serve(lambda: Peer(credit=1))
    async with connect(server.url, timeout=BOUND) as connection:
        receiver = await connection.receiver("q")
        waiting = [asyncio.create_task(receiver.receive()), asyncio.create_task(receiver.drain())]
        await eventually(lambda: server.peer.links)
        await asyncio.sleep(0)
        server.peer.sender.detach(error=None if condition is None else Error(Symbol(condition), "because"))
        for task in waiting:
            with pytest.raises(error) as caught:
                await task
            assert type(caught.value) is error
            assert caught.value.condition == condition
            assert caught.value.remote
        assert type(receiver.error) is error
        # The peer has its answer, and the session lives.
        await eventually(lambda: server.peer.detached)
        await connection.sender("q")


async def test_messages_on_a_link_that_is_detached(serve: Serve) -> None:
    """What was sent is in doubt, what was not sent is not."""
    server = await serve(lambda: Peer("on_message", credit=2))
    async with connect(server.url, timeout=BOUND) as connection:
        sender = await connection.sender("q")
        sends = [asyncio.create_task(sender.send(b"x")) for _ in range(4)]
        await eventually(lambda: len(server.peer.messages) == 2)
        server.peer.receiver.detach(error=Error(Symbol("amqp:link:detach-forced"), "go away"))
        results = await asyncio.gather(*sends, return_exceptions=True)
        assert [type(result) for result in results] == [InDoubt, InDoubt, NotSent, NotSent]
        for result in results:
            assert isinstance(result, InDoubt | NotSent)
            assert result.condition == "amqp:link:detach-forced"
            assert isinstance(result.__cause__, LinkDetached)
            assert "go away" in str(result)
        with pytest.raises(LinkDetached):
            await sender.send(b"x")


async def test_a_link_that_was_awaited_can_be_a_context(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        async with await connection.sender("q") as sender:
            await sender.send(b"x")
        async with await connection.receiver("q"):
            pass
        assert len(server.peer.detached) == 2


async def test_detaching_by_many(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        for link in (await connection.sender("q"), await connection.receiver("q")):
            await asyncio.gather(*(link.close() for _ in range(3)))
            await link.close()
            assert isinstance(link.error, LocalProtocolError)
        assert len(server.peer.detached) == 2


async def test_detach_that_is_never_answered(serve: Serve) -> None:
    server = await serve(lambda: Peer("on_message"))
    async with connect(server.url, timeout=BOUND) as connection:
        sender, receiver = await connection.sender("q"), await connection.receiver("q", prefetch=1)
        waiting = [asyncio.create_task(sender.send(b"x")), asyncio.create_task(receiver.receive())]
        await eventually(lambda: server.peer.messages)
        server.peer.freeze()
        await sender.close(timeout=0.01)
        await receiver.close(timeout=0.01)
        with pytest.raises(InDoubt, match="is closed"):
            await waiting[0]
        with pytest.raises(LocalProtocolError, match="is closed"):
            await waiting[1]
        server.peer.thaw()
        await eventually(lambda: len(server.peer.detached) == 2)
        await (await connection.sender("q")).send(b"x", settled=True)


async def test_an_outcome_that_comes_while_the_link_is_detached_counts(serve: Serve) -> None:
    server = await serve(lambda: Peer("on_message"))
    async with connect(server.url, timeout=BOUND) as connection:
        sender = await connection.sender("q")
        sending = asyncio.create_task(sender.send(b"x"))
        await eventually(lambda: server.peer.messages)
        # In one read: the outcome, and the answer to detach.
        server.peer.messages[0].accept()
        await sender.close()
        assert (await sending).settled


async def test_a_detach_without_error_of_a_link_in_use(serve: Serve) -> None:
    server = await serve(lambda: Peer("on_message"))
    async with connect(server.url, timeout=BOUND) as connection:
        sender = await connection.sender("q")
        sending = asyncio.create_task(sender.send(b"x"))
        await eventually(lambda: server.peer.messages)
        server.peer.receiver.detach(closed=False)
        with pytest.raises(InDoubt):
            await sending
