"""The API of uamqp 1.6: what both of its halves need here, for the original, which speaks only TLS, and for uamqp.

Each is used the way that it is fastest; where they differ, it says so.
"""

from __future__ import annotations

from typing import Any

from task import MESSAGE_LIMIT, Task

import uamqp
from uamqp.authentication import SASLAnonymous

ORIGINAL = uamqp.__version__.startswith("1.6.")

VERSION = uamqp.__version__ if ORIGINAL else f"{uamqp.__version__} ({uamqp.BUILD})"

#: Messages that are queued before they are sent: the original looks at all of them again and again until they are
#: confirmed.
QUEUED_AT_ONCE = 200 if ORIGINAL else 2000

#: Messages of one batch, at most. With as many as the credit the original finds no more messages, and sleeps, more
#: often than it must; with ours, what is read of them stays in the processor's cache.
RECEIVED_AT_ONCE = 300 if ORIGINAL else 100

#: Whether messages are accepted by the call that gives them out, which takes the original longer than accepting each.
AUTO_COMPLETE = not ORIGINAL

#: The original cannot send a message that is larger than its own maximum, so it is given that of the counterpart.
OPTIONS: dict[str, Any] = {"max_message_size": MESSAGE_LIMIT, "max_frame_size": 128 * 1024}


def login(task: Task) -> SASLAnonymous:
    return SASLAnonymous(task.host, task.port, verify=task.ca_file)


def address(task: Task) -> str:
    return f"{task.server}/{task.address}"
