"""One function, two orders of positional arguments.

The published signatures of the asynchronous API and those of uamqp 1.6.11 name the same parameters in different
orders. The published order is declared; calls in the other one are told apart by what stands where.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")

#: The attribute of a method that names the parameters behind self in its second order.
SECOND_ORDER: Final = "second_order"


def also_in_order(*names: str, at: int, when: Callable[[Any], bool]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a method take positional arguments in a second order too.

    Args:
        names: the parameters behind self in the second order.
        at: the place, behind self and from 0, of the argument that tells the orders apart.
        when: given that argument, says whether they are in the second order.
    """

    def decorate(method: Callable[P, R]) -> Callable[P, R]:
        unchecked = cast("Callable[..., Any]", method)

        def by_name(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
            if not when(args[at]):
                return args
            if len(args) > len(names):
                raise TypeError(f"{method.__qualname__}() takes {len(names)} arguments by position, not {len(args)}")
            for name, value in zip(names, args, strict=False):
                if name in kwargs:
                    raise TypeError(f"{method.__qualname__}() got two values for {name!r}")
                kwargs[name] = value
            return ()

        if inspect.iscoroutinefunction(method):

            @wraps(method)
            async def call_async(self: Any, *args: Any, **kwargs: Any) -> Any:
                if len(args) > at:
                    args = by_name(args, kwargs)
                return await unchecked(self, *args, **kwargs)

            setattr(call_async, SECOND_ORDER, names)
            return cast("Callable[P, R]", call_async)

        @wraps(method)
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            if len(args) > at:
                args = by_name(args, kwargs)
            return unchecked(self, *args, **kwargs)

        setattr(call, SECOND_ORDER, names)
        return cast("Callable[P, R]", call)

    return decorate
