"""What the host's page is given: everything of its room, at one moment. The host sees more than the projector, ever."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.services import offers, room_votes, rooms, rounds
from app.services.room_results import RoundResults, round_results
from app.services.rounds import OPEN_TO_VOTES
from app.tables import (
    Exposure,
    Generation,
    HumanAnswer,
    KeyKind,
    Participant,
    Phase,
    Prompt,
    Room,
    Round,
    now,
)

WITH_RESULTS = (Phase.CLOSED, Phase.REVEAL, Phase.SECOND_VOTE, Phase.LOBBY)


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferView:
    """A student's exchange that was offered to the class."""

    prompt: Prompt
    base: str
    tuned: str
    is_shown: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HostView:
    """One room, as its host sees it."""

    token: str
    at: datetime
    room: Room
    phase: Phase
    people: list[Participant]
    prompts: list[Prompt]
    played: frozenset[int]  # prompts that had a round
    offers: list[OfferView]
    round_: Round | None  # the one that is on, or was last
    steps: tuple[Phase, ...]
    share: float  # of both answers that is in view on the phones
    answers: list[tuple[str, str]]  # pseudonym and what was said first, newest first
    n_voted: int
    results: RoundResults | None
    has_summary: bool

    @property
    def projector_token(self) -> str:
        return rooms.projector_token(self.token)

    @property
    def here(self) -> frozenset[int]:
        """Participants who have the page open."""
        return frozenset(p.id for p in self.people if rooms.is_present(p, self.at))

    @property
    def inside(self) -> list[Participant]:
        """Who was not removed, those who are here first."""
        inside = [person for person in self.people if person.removed_at is None]
        return sorted(inside, key=lambda person: not rooms.is_present(person, self.at))

    @property
    def removed(self) -> list[Participant]:
        return [person for person in self.people if person.removed_at is not None]

    @property
    def n_present(self) -> int:
        return len(self.here)

    @property
    def is_on(self) -> bool:
        """Whether a round is being played."""
        return self.phase != Phase.LOBBY

    @property
    def has_failed(self) -> bool:
        """Whether the answers came and cannot be voted on."""
        if self.phase != Phase.ANSWERS or self.round_ is None:
            return False
        return self.round_.released_at is not None and rounds.has_failed(self.round_)

    @property
    def may_peek(self) -> bool:
        return self.phase in OPEN_TO_VOTES

    @property
    def next_prompt(self) -> Prompt | None:
        """The first that had no round yet; of none, the first."""
        return next((p for p in self.prompts if p.id not in self.played), (*self.prompts, None)[0])

    @property
    def main_step(self) -> Phase | None:
        """What the big button does: onward, and at the end of the round back to the lobby."""
        onward = [step for step in self.steps if step != Phase.LOBBY]
        is_end = self.phase == Phase.REVEAL
        return onward[0] if onward else Phase.LOBBY if is_end else None

    @property
    def buttons(self) -> list[Phase]:
        """The big one first; the other leads back to the lobby."""
        return list(dict.fromkeys([*filter(None, [self.main_step]), *self.steps]))

    @property
    def seconds_left(self) -> int | None:
        return seconds_left(self.room, self.at)


def seconds_left(room: Room, at: datetime) -> int | None:
    """Of the countdown that is for all; none where there is none."""
    end = room.phase_ends_at
    return None if end is None else max(0, round((end - at).total_seconds()))


def host_view(session: Session, token: str) -> HostView:
    """NotFound where the token opens no room."""
    room = rooms.by_key(session, KeyKind.HOST, token)
    return view_of(session, room, token)


def view_of(session: Session, room: Room, token: str) -> HostView:
    round_, phase, at = rounds.current(session, room), Phase(room.phase), now()
    has_votes = round_ is not None and round_.opened_at is not None
    played = select(Round.prompt_id).where(Round.room_id == room.id)
    return HostView(
        token=token,
        at=at,
        room=room,
        phase=phase,
        people=rooms.participants(session, room),
        prompts=rooms.prompts(session, room),
        played=frozenset(session.scalars(played)),
        offers=_offers(session, room),
        round_=round_,
        steps=rounds.steps(room, round_, at),
        share=rounds.released_share(round_, at) if round_ else 0.0,
        answers=_answers(session, round_) if round_ else [],
        n_voted=room_votes.count_voters(session, round_, room.vote_round) if round_ else 0,
        results=round_results(session, round_.id) if round_ and has_votes else None,
        has_summary=room.round_number > 0,
    )


def _answers(session: Session, round_: Round) -> list[tuple[str, str]]:
    query = (
        select(Participant.pseudonym, HumanAnswer.text)
        .join(Participant, Participant.id == HumanAnswer.participant_id)
        .where(HumanAnswer.round_id == round_.id, Participant.removed_at.is_(None))
        .order_by(HumanAnswer.id.desc())
    )
    return [(pseudonym, text) for pseudonym, text in session.execute(query)]


def _offers(session: Session, room: Room) -> list[OfferView]:
    prompts = offers.offered(session, room)
    base, tuned = Generation.__table__.alias(), Generation.__table__.alias()
    query = (
        select(Exposure.prompt_id, base.c.text, tuned.c.text)
        .join(base, base.c.id == Exposure.left_id)
        .join(tuned, tuned.c.id == Exposure.right_id)
        .where(Exposure.prompt_id.in_([prompt.id for prompt in prompts]))
    )
    texts = {prompt_id: (left, right) for prompt_id, left, right in session.execute(query)}
    return [
        OfferView(
            prompt=prompt,
            base=texts[prompt.id][0],
            tuned=texts[prompt.id][1],
            is_shown=room.shown_prompt_id == prompt.id,
        )
        for prompt in prompts
        if prompt.id in texts
    ]
