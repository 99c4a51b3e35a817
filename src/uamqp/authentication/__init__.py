"""How a connection says who it is."""

from .cbs_auth import CBSAuthMixin, JWTTokenAuth, SASTokenAuth, TokenRetryPolicy
from .cbs_auth_async import CBSAsyncAuthMixin, JWTTokenAsync, SASTokenAsync
from .common import AMQPAuth, SASLAnonymous, SASLPlain

__all__ = [
    "AMQPAuth",
    "CBSAsyncAuthMixin",
    "CBSAuthMixin",
    "JWTTokenAsync",
    "JWTTokenAuth",
    "SASLAnonymous",
    "SASLPlain",
    "SASTokenAsync",
    "SASTokenAuth",
    "TokenRetryPolicy",
]
