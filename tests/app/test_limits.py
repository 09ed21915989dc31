"""How often one may ask, in real time with a short span."""

import time

import pytest

from app import limits
from app.errors import TooMany
from app.limits import Limits


def test_who_asks_too_often_waits_and_nobody_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SPAN_S", 0.3)
    limit = Limits()
    started = time.monotonic()
    for _ in range(limits.PER_SPAN["prompt"]):
        limit.check("prompt", "ana", "ABC234")
    with pytest.raises(TooMany):
        limit.check("prompt", "ana", "ABC234")
    limit.check("prompt", "bia", "ABC234")
    limit.check("tap", "ana", "ABC234")
    assert time.monotonic() - started < 0.3
    time.sleep(0.31)
    limit.check("prompt", "ana", "ABC234")
    assert len(limit._hits) == 2  # who came once and no more is forgotten


def test_a_whole_room_that_asks_too_often_is_stopped_together() -> None:
    limit = Limits()
    for i in range(limits.PER_SPAN["room-prompt"]):
        limit.check("prompt", f"phone {i}", "ABC234")
    with pytest.raises(TooMany):
        limit.check("prompt", "one more", "ABC234")
    limit.check("prompt", "one more", "XYZ789")
