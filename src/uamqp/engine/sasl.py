"""Who are you: the SASL layer, both roles, sans-IO (spec 5.3).

The two endpoints only say what to send and how it ended; `ConnectionEndpoint` frames and checks the order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from ..codec.choices import SaslCode
from ..codec.composite import Composite
from ..codec.performatives import SaslChallenge, SaslInit, SaslMechanisms, SaslOutcome, SaslResponse
from ..codec.values import Symbol
from ..exceptions import AuthenticationError
from .errors import ILLEGAL_STATE, ConnectionViolation
from .limits import MAX_SASL_CHALLENGES

_OUTCOMES: Final[dict[int, str]] = {
    SaslCode.AUTH: "the peer does not accept the credentials",
    SaslCode.SYS: "the peer could not check the credentials",
    SaslCode.SYS_PERM: "the peer cannot check the credentials, now or later",
    SaslCode.SYS_TEMP: "the peer cannot check the credentials now, but may later",
}


class Mechanism:
    """One way for a client to say who it is."""

    name = ""

    def initial(self) -> bytes | None:
        """The initial response, or None where the mechanism has none."""
        return None

    def respond(self, challenge: bytes) -> bytes:
        """The answer to a challenge."""
        raise AuthenticationError(f"the peer sent a challenge, which {self.name} does not have")

    def __repr__(self) -> str:
        # Subclasses hold secrets.
        return f"<{self.name}>"


class Anonymous(Mechanism):
    """RFC 4505: no credentials; `trace` may tell the server who asks."""

    name = "ANONYMOUS"

    def __init__(self, trace: str = "") -> None:
        self._trace = trace

    def initial(self) -> bytes | None:
        return self._trace.encode()


class Plain(Mechanism):
    """RFC 4616: user and password as they are; only for TLS or the same host."""

    name = "PLAIN"

    def __init__(self, user: str, password: str, authorize_as: str = "") -> None:
        for part in (user, password, authorize_as):
            if "\0" in part:
                raise AuthenticationError("user and password must not contain a NUL character")
        self._response = f"{authorize_as}\0{user}\0{password}".encode()

    def initial(self) -> bytes | None:
        return self._response


class External(Mechanism):
    """RFC 4422: the transport has told already, with a client certificate."""

    name = "EXTERNAL"

    def __init__(self, authorize_as: str = "") -> None:
        self._identity = authorize_as.encode()

    def initial(self) -> bytes | None:
        return self._identity


class SaslClient:
    """The client's side: the first of its own mechanisms that the server offers, never another one.

    Attributes:
        done: the server accepted.
        error: the exchange failed; nothing but ending the connection is left.
    """

    def __init__(self, mechanisms: Sequence[Mechanism], hostname: str | None = None) -> None:
        self._mechanisms = mechanisms
        self._hostname = hostname
        self._chosen: Mechanism | None = None
        self._challenges = 0
        self.done = False
        self.error: AuthenticationError | None = None

    def receive(self, frame: Composite) -> Composite | None:
        """Take a frame of the server; returns the answer to send, if there is one."""
        if isinstance(frame, SaslMechanisms) and self._chosen is None:
            return self._choose([str(m) for m in frame.sasl_server_mechanisms])
        if isinstance(frame, SaslChallenge) and self._chosen is not None:
            self._challenges += 1
            if self._challenges > MAX_SASL_CHALLENGES:
                self.error = AuthenticationError("the peer sends one challenge after the other")
                return None
            try:
                return SaslResponse(self._chosen.respond(frame.challenge))
            except AuthenticationError as error:
                self.error = error
                return None
        if isinstance(frame, SaslOutcome) and self._chosen is not None:
            if frame.code == SaslCode.OK:
                self.done = True
            else:
                self.error = AuthenticationError(_OUTCOMES[frame.code], code=frame.code, remote=True)
            return None
        raise ConnectionViolation(ILLEGAL_STATE, f"{type(frame).__name__} at the wrong time in the SASL exchange")

    def _choose(self, offered: list[str]) -> Composite | None:
        for mechanism in self._mechanisms:
            if mechanism.name in offered:
                self._chosen = mechanism
                return SaslInit(Symbol(mechanism.name), mechanism.initial(), self._hostname)
        wanted = ", ".join(m.name for m in self._mechanisms)
        shown = ", ".join(offered[:16]) or "nothing"
        self.error = AuthenticationError(f"the peer offers {shown}; the credentials at hand allow only {wanted}")
        return None


#: Checks credentials: mechanism name and initial response in, identity out; None refuses.
Authenticator = Callable[[str, bytes], str | None]


class SaslServer:
    """The server's side for mechanisms of one step.

    Attributes:
        identity: who the client is, once `done`.
        done: the client was accepted.
        error: the client was refused; nothing but ending the connection is left.
    """

    def __init__(self, mechanisms: Sequence[str], authenticate: Authenticator) -> None:
        self._offered = mechanisms
        self._authenticate = authenticate
        self.identity: str | None = None
        self.done = False
        self.error: AuthenticationError | None = None

    def offer(self) -> Composite:
        """The first frame."""
        return SaslMechanisms(tuple(Symbol(m) for m in self._offered))

    def receive(self, frame: Composite) -> Composite:
        """Take a frame of the client; returns the answer to send."""
        if not isinstance(frame, SaslInit):
            raise ConnectionViolation(ILLEGAL_STATE, f"{type(frame).__name__} at the wrong time in the SASL exchange")
        mechanism = str(frame.mechanism)
        if mechanism in self._offered:
            self.identity = self._authenticate(mechanism, frame.initial_response or b"")
        if self.identity is None:
            self.error = AuthenticationError("the credentials of the client were refused", code=SaslCode.AUTH.value)
            return SaslOutcome(SaslCode.AUTH.value)
        self.done = True
        return SaslOutcome(SaslCode.OK.value)


def parse_plain(response: bytes) -> tuple[str, str, str] | None:
    """The parts of a PLAIN response: authorize-as, user, password; None where it is malformed."""
    try:
        parts = response.decode().split("\0")
    except UnicodeDecodeError:
        return None
    return (parts[0], parts[1], parts[2]) if len(parts) == 3 else None
