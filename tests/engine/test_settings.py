from __future__ import annotations

from typing import Any

import pytest

from uamqp.engine.settings import ConnectionSettings


@pytest.mark.parametrize(
    "terms",
    [
        {"max_frame_size": 511},
        {"max_frame_size": 2**32},
        {"channel_max": -1},
        {"channel_max": 65_536},
        {"idle_timeout": 0},
        {"idle_timeout": 5e6},
    ],
)
def test_terms_that_cannot_be_stated(terms: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(terms))):
        ConnectionSettings("us", **terms)
