"""What a student's phone is given: the stage of a room, as this one participant may see it now.

Before the names are known nothing here says which side is which: `PaneView.role` is none, and both texts are cut in
the same way.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Self

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from app.errors import AppError
from app.services import exchanges, exposures, room_votes, rooms, rounds
from app.services.ballots import Verdict, verdict_of
from app.services.room_votes import MyVotes, Votes
from app.tables import (
    AnswerKind,
    Exposure,
    Participant,
    Phase,
    Prompt,
    Role,
    Room,
    Round,
    Side,
    Target,
    VoteKind,
    current_vote,
    now,
)
from app.views import ExchangeView, Works, exchange_view

CONSENT_VERSION = 1  # of the sentence in templates/room/_consent.html
LETTERS = {Side.LEFT: "A", Side.RIGHT: "B"}
OUTSIDE, REMOVED, GONE = "outside", "removed", "gone"  # in the place of a phase


class NotDrawn(Exception):
    """The sides of this person's pair must be drawn first, which a read cannot do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaneView:
    """One answer on its side; whose it is only when that may be known."""

    side: Side
    letter: str
    text: str
    role: Role | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Taps:
    """What the buttons of a vote need."""

    code: str
    votes: MyVotes
    nonce: str = field(default_factory=lambda: secrets.token_urlsafe(8))
    is_over: bool = False  # this person's countdown


@dataclass(frozen=True, slots=True, kw_only=True)
class Countdown:
    seconds_left: int
    is_over: bool
    has_more_time: bool

    @classmethod
    def of(cls, room: Room, round_: Round, member: Participant, at: datetime) -> Self | None:
        end = rounds.ends_at(room, round_, member)
        if end is None:
            return None
        return cls(
            seconds_left=max(0, round((end - at).total_seconds())),
            is_over=at > end + rounds.GRACE,
            has_more_time=member.has_more_time,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassResult:
    """What the class said, in a line or two."""

    prompt: str
    preferred: Mapping[Verdict, int]
    n_right: int  # knew where the base stood
    n_guessed: int

    @property
    def n_chosen(self) -> int:
        return sum(self.preferred.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """A student's own exchange, in free play."""

    exchange: ExchangeView
    is_offered: bool
    is_approved: bool


def _nothing_yet(_at: datetime) -> float:
    return 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What the phone shows now. `phase` is one of tables.Phase, or OUTSIDE, REMOVED, GONE."""

    code: str
    phase: str
    room_id: int = 0
    member_id: int = 0
    erase_at: datetime | None = None
    pseudonym: str = ""
    consents: bool = False
    prompt: str = ""
    is_number: bool = False
    is_blind: bool = True
    names_known: bool = False
    vote_round: int = 1
    my_answer: str = ""
    countdown: Countdown | None = None
    panes: list[PaneView] = field(default_factory=list)
    share: float = 1.0  # of both answers that is in view
    share_at: Callable[[datetime], float] = _nothing_yet
    is_exposed: bool = False  # saw the pair before it was closed
    is_released: bool = False
    taps: Taps | None = None
    first_votes: MyVotes | None = None  # in the second vote and after it
    result: ClassResult | None = None
    second_result: ClassResult | None = None
    allows_free_play: bool = False
    own: Own | None = None

    @property
    def is_growing(self) -> bool:
        return self.phase == Phase.ANSWERS and self.is_released and self.share < 1

    @property
    def again_s(self) -> float | None:
        """In how many seconds it will look different without any news."""
        if self.is_growing:
            return 0.4
        if self.countdown and not self.countdown.is_over:
            return self.countdown.seconds_left + rounds.GRACE.total_seconds() + 0.5
        return None

    @property
    def base_side(self) -> Side | None:
        return next((pane.side for pane in self.panes if pane.role == Role.BASE), None)

    def shown_text(self, pane: PaneView) -> str:
        return rounds.released_text(pane.text, self.share)

    def grown(self, at: datetime) -> "Stage":
        """The same a moment later, with more of both texts."""
        return replace(self, share=self.share_at(at))


@dataclass(frozen=True, slots=True)
class Browser:
    """Who looks at a room: the cookie, and the jobs that were at work before the database was read."""

    cookie: str | None
    works: Works


def look(
    session: Session, code: str, cookie: str | None, works: Works, *, draws: bool = False
) -> Stage:
    """The stage as this browser may see it. NotFound where there is no such room.

    draws  whether the sides may be drawn, in a transaction that writes; else NotDrawn says that they must be
    """
    (stage,) = (look_and_draw if draws else look_all)(session, code, [Browser(cookie, works)])
    return stage


def look_all(session: Session, code: str, browsers: Sequence[Browser]) -> list[Stage]:
    """The stages of many, of a room that is read once for all of them. NotDrawn if it must be for one."""
    return _look(session, code, browsers, draws=False)


def look_and_draw(session: Session, code: str, browsers: Sequence[Browser]) -> list[Stage]:
    return _look(session, code, browsers, draws=True)


def answer_and_look(
    session: Session, code: str, said: Sequence[tuple[Browser, str]]
) -> list[Stage | AppError]:
    """What students say before any model, and what each is shown then; or why it was not kept."""
    texts = [(browser.cookie, text) for browser, text in said]
    refused = room_votes.answer_all(session, code, texts)
    if all(refused):  # it may be another phase, with sides to be drawn
        return [error for error in refused if error]
    stages = look_all(session, code, [browser for browser, _ in said])
    return [error or stage for error, stage in zip(refused, stages, strict=True)]


def _look(session: Session, code: str, browsers: Sequence[Browser], *, draws: bool) -> list[Stage]:
    room = rooms.by_code(session, code, holds=draws)  # no draw after closing, or of what is erased
    members = rooms.members(session, room, [browser.cookie for browser in browsers])
    scene = _scene(session, room, [m for m in members.values() if not m.removed_at], draws=draws)
    return [_stage(session, scene, members.get(b.cookie), b.works) for b in browsers]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    """What the phones that look at the same moment share, and what is each one's, by participant."""

    at: datetime
    room: Room
    round_: Round | None
    answers: Mapping[int, str] = field(default_factory=dict)
    shown: Mapping[int, Exposure] = field(default_factory=dict)
    votes: Votes = field(default_factory=dict)
    result: ClassResult | None = None
    second_result: ClassResult | None = None


def _scene(session: Session, room: Room, inside: list[Participant], *, draws: bool) -> _Scene:
    round_ = rounds.current(session, room)
    scene = _Scene(at=now(), room=room, round_=round_)
    if round_ is None:
        return scene
    if room.phase == Phase.LOBBY:
        was_revealed = round_.revealed_at is not None
        return replace(scene, result=class_result(session, round_, 1) if was_revealed else None)
    if room.phase == Phase.HUMAN:
        return replace(scene, answers=room_votes.answers_of(session, round_, inside))
    if round_.released_at is None:  # both are being written
        return scene
    shown = exposures.shown(session, round_, inside)
    may_draw = room.phase in (Phase.ANSWERS, *rounds.OPEN_TO_VOTES)
    if len(shown) < len(inside) and may_draw and round_.base_id and round_.tuned_id:
        if not draws:
            raise NotDrawn
        shown = exposures.draw(session, round_, inside)
    is_reveal, is_second = room.phase == Phase.REVEAL, room.vote_round == 2
    return replace(
        scene,
        shown=shown,
        votes=room_votes.votes_on(session, [exposure.id for exposure in shown.values()]),
        result=class_result(session, round_, 1) if is_reveal else None,
        second_result=class_result(session, round_, 2) if is_reveal and is_second else None,
    )


def _stage(session: Session, scene: _Scene, member: Participant | None, works: Works) -> Stage:
    room, round_ = scene.room, scene.round_
    outer = Stage(code=room.code, phase=OUTSIDE, room_id=room.id, erase_at=room.erase_at)
    if member is None:
        return outer
    known = replace(
        outer,
        phase=room.phase,
        member_id=member.id,
        pseudonym=member.pseudonym,
        consents=member.consents_to_training,
        vote_round=room.vote_round,
        result=scene.result,
        second_result=scene.second_result,
    )
    if member.removed_at is not None:
        return replace(known, phase=REMOVED, result=None, second_result=None)
    if room.phase == Phase.LOBBY or round_ is None:
        own = None
        if room.allows_free_play and (exposure := exchanges.latest(session, member)):
            own = own_view(session, exposure, works)
        return replace(known, allows_free_play=room.allows_free_play, own=own)
    return _in_round(scene, round_, member, known)


def own_view(session: Session, exposure: Exposure, works: Works) -> Own:
    prompt: Prompt = exposure.prompt
    return Own(
        exchange=exchange_view(session, exposure, works),
        is_offered=prompt.offered_at is not None,
        is_approved=prompt.approved_at is not None,
    )


def _in_round(scene: _Scene, round_: Round, member: Participant, known: Stage) -> Stage:
    room, at = scene.room, scene.at
    countdown = Countdown.of(room, round_, member, at)
    known = replace(
        known,
        prompt=round_.prompt.text,
        is_number=round_.prompt.answer_kind == AnswerKind.NUMBER,
        is_blind=round_.is_blind,
        names_known=not round_.is_blind or round_.revealed_at is not None,
        countdown=countdown,
    )
    if room.phase == Phase.HUMAN:
        return replace(known, my_answer=scene.answers.get(member.id, ""))
    if round_.released_at is None:
        return replace(known, share=0.0)
    exposure = scene.shown.get(member.id)
    first, second = (
        scene.votes.get((exposure.id, number), MyVotes()) if exposure else MyVotes()
        for number in (1, 2)
    )
    is_second = room.vote_round == 2
    mine = second if is_second else first
    return replace(
        known,
        panes=_panes(round_, exposure, names_known=known.names_known),
        share=rounds.released_share(round_, at) if room.phase == Phase.ANSWERS else 1.0,
        share_at=lambda at: rounds.released_share(round_, at),
        is_exposed=exposure is not None,
        is_released=True,
        taps=Taps(code=room.code, votes=mine, is_over=bool(countdown and countdown.is_over)),
        first_votes=first if is_second else None,
    )


def _panes(round_: Round, exposure: Exposure | None, *, names_known: bool) -> list[PaneView]:
    """A and B as this person was shown them; to who came after the vote, the base first, once there are names."""
    base, tuned = round_.base, round_.tuned
    if base is None or tuned is None or rounds.has_failed(round_):
        return []
    if exposure is None and not names_known:
        return []
    is_base_left = exposure is None or exposure.left_id == base.id
    by_side = dict(zip(Side, (base, tuned) if is_base_left else (tuned, base), strict=True))
    return [
        PaneView(
            side=side,
            letter=LETTERS[side],
            text=generation.text.strip(),
            role=Role(generation.checkpoint.role) if names_known else None,
        )
        for side, generation in by_side.items()
    ]


def class_result(session: Session, round_: Round, vote_round: int) -> ClassResult:
    """Counted in the database, because a whole room asks for it at once. Guesses are made in the first vote only."""
    vote = current_vote.c
    is_tuned_left = Exposure.left_id == round_.tuned_id
    query = (
        select(vote.kind, vote.choice, is_tuned_left, func.count())
        .select_from(Exposure)
        .join(Participant, Participant.id == Exposure.participant_id)
        .join(current_vote, vote.exposure_id == Exposure.id)
        .where(
            Exposure.round_id == round_.id,
            Participant.removed_at.is_(None),
            vote.target == Target.PAIR,
            vote.choice.is_not(None),
            vote.vote_round == case((vote.kind == VoteKind.GUESS, 1), else_=vote_round),
        )
        .group_by(vote.kind, vote.choice, is_tuned_left)
    )
    preferred = dict.fromkeys(Verdict, 0)
    n_right = n_guessed = 0
    for kind, choice, tuned_is_left, n in session.execute(query):
        tuned_side = Side.LEFT if tuned_is_left else Side.RIGHT
        if kind == VoteKind.GUESS:
            n_guessed += n
            n_right += n if choice != tuned_side else 0
        elif verdict := verdict_of(choice, tuned_side):
            preferred[verdict] += n
    return ClassResult(
        prompt=round_.prompt.text, preferred=preferred, n_right=n_right, n_guessed=n_guessed
    )
