"""Names that differed between Python 2 and 3, as programs of that time import them from here."""

from builtins import bytes, str  # noqa: UP029
from builtins import str as builtin_str
from typing import Final
from urllib.parse import quote_plus, unquote_plus, urlparse

__all__ = [
    "PY2",
    "PY3",
    "TimeoutException",
    "basestring",
    "builtin_str",
    "bytes",
    "integer_types",
    "long",
    "numeric_types",
    "quote_plus",
    "str",
    "unquote_plus",
    "urlparse",
]

PY2: Final = False
PY3: Final = True

TimeoutException = TimeoutError
basestring = (str, bytes)
long = int
integer_types = (int,)
numeric_types = (int, float)
