"""How often one may ask: for each participant, and generously for a whole room. Never by address: a school has one."""

import time
from collections import deque

from app.errors import N_, TooMany

SPAN_S = 60.0
PER_SPAN = {
    "join": 30,  # of one browser
    "tap": 120,  # answers and votes of one participant
    "prompt": 12,  # own prompts of one participant
    "password": 10,  # tries, of all together
    "room-join": 3000,
    "room-tap": 20_000,
    "room-prompt": 600,
}


class Limits:
    """In this process; with several, each counts for itself. Everything happens in the event loop."""

    def __init__(self) -> None:
        self._hits: dict[tuple[str, str], deque[float]] = {}  # when; of the last span
        self._swept_at = time.monotonic()

    def check(self, kind: str, participant: str, room: str) -> None:
        """TooMany where a participant or the whole room asked too often."""
        if not self._hit(kind, participant) or not self._hit(f"room-{kind}", room):
            raise TooMany(
                N_("Calma: muitos pedidos seguidos. Tente de novo em %(seconds)s s."),
                retry_after_s=10,
            )

    def check_password(self) -> None:
        if not self._hit("password", "all"):
            raise TooMany(
                N_(
                    "Muitas tentativas de senha. Espere %(seconds)s s, ou use o link impresso no terminal."
                ),
                retry_after_s=60,
            )

    def _hit(self, kind: str, who: str) -> bool:
        """Count one more; False, and not counted, where the span is full."""
        at = time.monotonic()
        if at > self._swept_at + SPAN_S:
            self._hits = {k: hits for k, hits in self._hits.items() if hits[-1] > at - SPAN_S}
            self._swept_at = at
        hits = self._hits.setdefault((kind, who), deque())
        while hits and hits[0] <= at - SPAN_S:
            hits.popleft()
        if len(hits) >= PER_SPAN[kind]:
            return False
        hits.append(at)
        return True
