"""For tests of programs that use AMQP: virtual time, a network that fails on demand, peers that follow a script.

And the simulator by which this library is tested itself: ``python -m uamqp.testing simulate``. See docs/testing.md.
"""

from __future__ import annotations

from .clock import Stuck, VirtualLoop, run
from .ledger import Account, Ledger, Outcome, Violation, outcome_of
from .network import Conditions, How, Network, Way, Wire
from .scripted import Frame, ScriptedPeer, ScriptedServer, Unexpected, raw_frame
from .simulation import Result, simulate

__all__ = [
    "Account",
    "Conditions",
    "Frame",
    "How",
    "Ledger",
    "Network",
    "Outcome",
    "Result",
    "ScriptedPeer",
    "ScriptedServer",
    "Stuck",
    "Unexpected",
    "Violation",
    "VirtualLoop",
    "Way",
    "Wire",
    "outcome_of",
    "raw_frame",
    "run",
    "simulate",
]
