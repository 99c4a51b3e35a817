"""Clients of the asynchronous API, where uamqp 1.6 has them."""

from __future__ import annotations

from ..compat import TimeoutException as TimeoutException
from ._client import AMQPClientAsync as AMQPClientAsync
from ._receive_client import AsyncMessageIter as AsyncMessageIter
from ._receive_client import ReceiveClientAsync as ReceiveClientAsync
from ._receive_client import ReceivedMessages as ReceivedMessages
from ._send_client import SendClientAsync as SendClientAsync
from .connection_async import ConnectionAsync as ConnectionAsync
from .receiver_async import MessageReceiverAsync as MessageReceiverAsync
from .sender_async import MessageSenderAsync as MessageSenderAsync
from .session_async import SessionAsync as SessionAsync
from .utils import get_dict_with_loop_if_needed as get_dict_with_loop_if_needed
