from __future__ import annotations

from enum import Enum
from typing import Any

import pytest

from uamqp.engine.states import CONNECTION, LINK, SESSION, ConnectionState, Event, LinkState, SessionState


@pytest.mark.parametrize(
    ("table", "states", "first", "last"),
    [
        (CONNECTION, ConnectionState, ConnectionState.START, ConnectionState.END),
        (SESSION, SessionState, SessionState.UNMAPPED, SessionState.ENDED),
        (LINK, LinkState, LinkState.DETACHED, LinkState.ENDED),
    ],
)
def test_each_state_can_be_reached_and_left(table: Any, states: type[Enum], first: Enum, last: Enum) -> None:
    reached = {first}
    while True:
        further = {new for (old, _), new in table.items() if old in reached} | reached
        if further == reached:
            break
        reached = further
    assert reached == set(states)
    assert {old for old, _ in table} == set(states) - {last}


def test_the_connection_table_is_symmetric_in_sending_and_receiving_the_opening() -> None:
    assert CONNECTION[ConnectionState.START, Event.SEND_HEADER] is ConnectionState.HDR_SENT
    assert CONNECTION[ConnectionState.HDR_EXCH, Event.RECEIVE_OPEN] is ConnectionState.OPEN_RCVD
