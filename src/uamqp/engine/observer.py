"""What an engine tells its owner: the aio client or the broker overrides what it wants to know.

The last five fire once per read, not once per message; the others on control frames.
Hooks may call back into the engine, except where it says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..exceptions import AMQPError
    from .delivery import IncomingDelivery
    from .link import LinkEndpoint
    from .receiver import ReceiverEndpoint
    from .run import Outgoing
    from .sender import SenderEndpoint
    from .session import SessionEndpoint


class Observer:
    """Empty hooks; `ConnectionEndpoint` calls them."""

    def on_output(self) -> None:
        """There are bytes in `data_to_send` after there were none; write them soon. Must not call the engine."""

    def on_open(self) -> None:
        """The peer's open arrived (`ConnectionEndpoint.remote_open`). A server calls `open` before this returns."""

    def on_begin(self, session: SessionEndpoint) -> None:
        """The peer began the session: it answers ours, or it is the peer's own and wants `begin` or `end`."""

    def on_attach(self, link: LinkEndpoint) -> None:
        """The peer attached the link: it answers ours, or it is the peer's own and wants `attach` or `refuse`."""

    def on_detach(self, link: LinkEndpoint, error: AMQPError | None) -> None:
        """The link ended or was suspended by the peer, or by an error; None where it was asked for."""

    def on_end(self, session: SessionEndpoint, error: AMQPError | None) -> None:
        """The session ended; its links were told before."""

    def on_close(self, error: AMQPError | None) -> None:
        """The connection ended; its sessions and links were told before. Called once."""

    def on_drained(self, receiver: ReceiverEndpoint) -> None:
        """All credit given with drain is used up, and what was sent for it is here."""

    def on_deliveries(self, receiver: ReceiverEndpoint) -> None:
        """There are deliveries in `receiver.queue`, after there were none."""

    def on_wasted(self, receiver: ReceiverEndpoint, count: int) -> None:
        """So many deliveries used credit and came to nothing: aborted, or resumed without being known here."""

    def on_credit(self, sender: SenderEndpoint) -> None:
        """The sender may send more, or less, or has sent all that was queued."""

    def on_settled(self, deliveries: Sequence[Outgoing]) -> None:
        """These sent deliveries have their final outcome, or failed; of these runs, more deliveries are done."""

    def on_incoming_settled(self, deliveries: list[IncomingDelivery]) -> None:
        """The peer settled these received deliveries, or they ended unsettled with their link."""
