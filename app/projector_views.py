"""What the projector is given: nothing that the class may not know yet.

Before the reveal of a blind round neither role nor tally is in these records, so that no template can let them out.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from app.host_views import seconds_left
from app.services import offers, room_votes, rooms, rounds
from app.services.room_results import ClassSummary, RoundResults, class_summary, round_results
from app.services.rounds import OPEN_TO_VOTES
from app.services.tallies import Totals
from app.tables import Generation, KeyKind, Phase, Role, Room, Round, now

WITH_ANSWERS = (Phase.ANSWERS, *OPEN_TO_VOTES, Phase.CLOSED, Phase.REVEAL)


@dataclass(frozen=True, slots=True)
class ProjectedAnswer:
    """One of the two; whose it is only where everybody may know."""

    text: str
    role: Role | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectorView:
    """One room, as all may see it."""

    token: str
    at: datetime
    room: Room
    phase: Phase
    n_present: int
    number: int
    prompt: str
    is_named: bool  # whether it is known who is who
    answers: list[ProjectedAnswer]
    share: float  # of both answers that is in view
    n_answered: int
    n_voted: int
    totals: Totals | None  # after closing, before the reveal
    results: RoundResults | None  # after the reveal
    shown: tuple[str, list[ProjectedAnswer]] | None  # a student's question that the host shows

    @property
    def seconds_left(self) -> int | None:
        return seconds_left(self.room, self.at)

    @property
    def is_writing(self) -> bool:
        return self.phase == Phase.ANSWERS and self.share == 0


def projector_view(session: Session, token: str) -> ProjectorView:
    """NotFound where the token opens no room."""
    room = rooms.by_key(session, KeyKind.PROJECTOR, token)
    round_, phase, at = rounds.current(session, room), Phase(room.phase), now()
    is_named = round_ is not None and (not round_.is_blind or round_.revealed_at is not None)
    was_revealed = round_ is not None and round_.revealed_at is not None
    share = rounds.released_share(round_, at) if round_ else 0.0
    return ProjectorView(
        token=token,
        at=at,
        room=room,
        phase=phase,
        n_present=rooms.count_present(session, room),
        number=round_.number if round_ else 0,
        prompt=round_.prompt.text if round_ else "",
        is_named=is_named,
        answers=_answers(round_, share, is_named)
        if round_ and (phase in WITH_ANSWERS or was_revealed)
        else [],
        share=share,
        n_answered=room_votes.count_answers(session, round_)
        if round_ and phase == Phase.HUMAN
        else 0,
        n_voted=room_votes.count_voters(session, round_, room.vote_round) if round_ else 0,
        totals=round_results(session, round_.id).first.totals
        if round_ and phase == Phase.CLOSED
        else None,
        results=round_results(session, round_.id)
        if round_ and was_revealed and phase in (Phase.REVEAL, Phase.LOBBY)
        else None,
        shown=_shown(session, room) if phase == Phase.LOBBY else None,
    )


def summary(session: Session, token: str) -> ClassSummary | None:
    """The whole class; none while there are votes that may not be known yet."""
    room = rooms.by_key(session, KeyKind.PROJECTOR, token)
    is_open = room.phase in (Phase.LOBBY, Phase.REVEAL) and room.round_number > 0
    return class_summary(session, room.id) if is_open else None


def _answers(round_: Round, share: float, is_named: bool) -> list[ProjectedAnswer]:
    """Both, in an order of their own: the phones have drawn theirs, each for itself."""
    pair = [(Role.BASE, round_.base), (Role.TUNED, round_.tuned)]
    if round_.is_blind and _is_swapped(round_):
        pair.reverse()
    return [
        ProjectedAnswer(_in_view(generation, share), role if is_named else None)
        for role, generation in pair
    ]


def _is_swapped(round_: Round) -> bool:
    """As by a coin, but always the same for a round; the seeds are known to the server only."""
    seeds = [generation.seed for generation in (round_.base, round_.tuned) if generation]
    return hashlib.sha256(f"{round_.id} {seeds}".encode()).digest()[0] % 2 == 1


def _in_view(generation: Generation | None, share: float) -> str:
    return rounds.released_text(generation.text.strip(), share) if generation else ""


def _shown(session: Session, room: Room) -> tuple[str, list[ProjectedAnswer]] | None:
    exposure = offers.shown(session, room)
    if exposure is None:
        return None
    pair = (exposure.left, exposure.right)
    answers = [ProjectedAnswer(g.text.strip(), Role(g.checkpoint.role)) for g in pair]
    return exposure.prompt.text, answers
