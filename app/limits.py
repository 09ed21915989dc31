"""How often one may ask: for each participant, and generously for a whole room. Never by address: a school has one."""

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from app.errors import N_, TooMany

PER_MINUTE = {
    "join": 30,  # of one browser
    "tap": 120,  # answers and votes of one participant
    "prompt": 12,  # own prompts of one participant
    "password": 10,  # tries, of all together
    "room-join": 3000,
    "room-tap": 20_000,
    "room-prompt": 600,
}


class Limits:
    """In this process; with several, each counts for itself."""

    def __init__(self) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._items = {name: RateLimitItemPerMinute(n) for name, n in PER_MINUTE.items()}

    def check(self, kind: str, participant: str, room: str) -> None:
        """TooMany where a participant or the whole room asked too often."""
        is_within = self._limiter.hit(self._items[kind], participant)
        if not is_within or not self._limiter.hit(self._items[f"room-{kind}"], room):
            raise TooMany(
                N_("Calma: muitos pedidos seguidos. Tente de novo em %(seconds)s s."),
                retry_after_s=10,
            )

    def check_password(self) -> None:
        if not self._limiter.hit(self._items["password"], "all"):
            raise TooMany(
                N_(
                    "Muitas tentativas de senha. Espere %(seconds)s s, ou use o link impresso no terminal."
                ),
                retry_after_s=60,
            )
