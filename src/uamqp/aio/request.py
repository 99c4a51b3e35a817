"""Requests to a node, and their answers: two links, and ids that tell which answer is for whom."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from ..codec.definitions import Source, Target
from ..codec.message import Message
from ..exceptions import AMQPError, DecodeError, OperationTimeout
from ..transport.driver import BackgroundTask, Waiter, wake, within

if TYPE_CHECKING:
    from ..engine.delivery import IncomingDelivery
    from .receiver import Receiver
    from .sender import Sender
    from .session import Session

#: Answers that the node may send ahead.
_CREDIT = 100


class Requests:
    """A link pair to one node. Any number of requests may be under way at once.

    Args:
        session: where the links are.
        sender: to the node.
        receiver: from where its answers come.
        reply_to: the address that the node is told to answer to.
    """

    def __init__(self, session: Session, sender: Sender, receiver: Receiver, reply_to: str) -> None:
        self._session = session
        self._sender = sender
        self._receiver = receiver
        self._reply_to = reply_to
        self._driver = session.connection._driver
        for link in (sender, receiver):
            # An answer that was under way is lost with the link, so whoever waits for one is told, and asks anew.
            session.connection._links.pop(link, None)
        self._waiting: dict[str, Waiter] = {}
        self._answers: dict[str, IncomingDelivery] = {}
        self._retired = False
        self._tasks: list[BackgroundTask] = [
            self._driver.spawn(self._read(), f"answers for {reply_to}"),
            self._driver.spawn(self._watch(), f"the link of requests of {reply_to}"),
        ]

    @classmethod
    async def open_dynamic(cls, session: Session, node: str, timeout: float | None) -> Requests:
        """Attach to a node that answers to any address: here to one that the peer makes up."""
        left = session.connection._driver.countdown(timeout)
        receiver = await session.receiver(None, dynamic=True, prefetch=_CREDIT, timeout=left())
        try:
            sender = await session.sender(node, timeout=left())
        except BaseException:
            receiver._drop()
            raise
        return cls(session, sender, receiver, receiver.address or "")

    @classmethod
    async def open_paired(cls, session: Session, node: str, timeout: float | None) -> Requests:
        """Attach to a node that answers over a link from itself, such as ``$cbs``."""
        reply_to = f"reply-{uuid4()}"
        left = session.connection._driver.countdown(timeout)
        # Termini of our own, because the name of the node is the same with all peers.
        receiver = await session.receiver(
            None, source=Source(address=node), target=Target(address=reply_to), prefetch=_CREDIT, timeout=left()
        )
        try:
            sender = await session.sender(
                None, source=Source(address=reply_to), target=Target(address=node), timeout=left()
            )
        except BaseException:
            receiver._drop()
            raise
        return cls(session, sender, receiver, reply_to)

    @property
    def session(self) -> Session:
        """Where the links are."""
        return self._session

    @property
    def usable(self) -> bool:
        """Whether both links are attached."""
        return self._sender.error is None and self._receiver.error is None

    async def request(self, message: Message, timeout: float | None) -> IncomingDelivery:
        """Send a request and wait for its answer, which is accepted.

        Raises:
            OperationTimeout: there was no answer within `timeout` seconds.
            DeliveryFailed: the node did not take the request.
            LinkDetached, SessionEnded, ConnectionEnded: a link is gone.
        """
        left = self._driver.countdown(timeout)
        id = message.properties.message_id = str(uuid4())
        message.properties.reply_to = self._reply_to
        waiter = self._waiting[id] = self._driver.waiter()
        try:
            await self._sender.send(message, timeout=timeout)
            if not await self._driver.wait(waiter, left()):
                raise OperationTimeout(f"no answer to the request {within(timeout)}")
            answer = self._answers.get(id)
            if answer is None:
                error = self._receiver.error or self._sender.error
                assert error is not None
                raise error.again()
            return answer
        finally:
            del self._waiting[id]
            self._answers.pop(id, None)
            self._drop_retired()

    async def _read(self) -> None:
        """Hand out the answers; the body of the background task."""
        try:
            while True:
                answer = await self._receiver.receive(timeout=None)
                answer.accept()
                self._hand_out(answer)
        except AMQPError:
            self._wake_all()

    async def _watch(self) -> None:
        """See whether the link of the requests ends, and their answers are not to be expected; a background task."""
        sender = self._sender
        await sender._changed.wait_for(lambda: sender.error is not None, None)
        # Answers that came before it are handed out first.
        await self._driver.turn()
        self._wake_all()

    def _wake_all(self) -> None:
        for waiter in self._waiting.values():
            wake(waiter)

    def _hand_out(self, answer: IncomingDelivery) -> None:
        try:
            id = answer.message.properties.correlation_id
        except DecodeError:
            return
        if id is None and len(self._waiting) == 1:
            # Not every node says what it answers to.
            (id,) = self._waiting
        waiter = self._waiting.get(id) if isinstance(id, str) else None
        # An answer to an earlier request, given up meanwhile, is passed over.
        if waiter is not None and not waiter.done():
            self._answers[str(id)] = answer
            wake(waiter)

    async def close(self, timeout: float | None) -> None:
        """Detach from the node, within `timeout` seconds; safe to call twice."""
        left = self._driver.countdown(timeout)
        self._stop()
        await self._sender.close(timeout=left())
        await self._receiver.close(timeout=left())

    def retire(self) -> None:
        """Another takes its place: detach from the node, once nobody waits for an answer any more."""
        self._retired = True
        self._drop_retired()

    def _drop_retired(self) -> None:
        if self._retired and not self._waiting:
            self._stop()
            self._sender._drop()
            self._receiver._drop()

    def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
