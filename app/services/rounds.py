"""A round is a state machine: which phase may follow which, and what each step leaves behind.

`lobby → human answers → answers → voting → closed → reveal → (second vote → reveal) → lobby`. What a round does not need is
left out.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session, joinedload

from app.errors import N_, Conflict, Invalid
from app.events import phase_topic, room_topic, touch
from app.services import rooms
from app.tables import Author, Finish, Generation, Participant, Phase, Room, Round, now

MAX_SAMPLES = 200
MAX_COUNTDOWN_S = 3600
RELEASE_S = 4.0  # in which both answers come into view, at the same pace
MORE_TIME = 2.0  # times the countdown, for those who asked for it
GRACE = timedelta(seconds=2)  # for what was sent in the last moment
COUNTED = (Phase.HUMAN, Phase.VOTING, Phase.SECOND_VOTE)
OPEN_TO_VOTES = (Phase.VOTING, Phase.SECOND_VOTE)
WHOLE = (Finish.STOP, Finish.LENGTH)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundOptions:
    """How a round is played."""

    asks_people: bool = True
    is_blind: bool = True
    has_second_vote: bool = False
    n_samples: int = 60  # of each checkpoint
    countdown_s: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.n_samples <= MAX_SAMPLES:
            raise Invalid(N_("De 0 a %(n)s respostas para o gráfico."), n=MAX_SAMPLES)
        if self.countdown_s is not None and not 5 <= self.countdown_s <= MAX_COUNTDOWN_S:
            raise Invalid(N_("A contagem vai de 5 a %(n)s segundos."), n=MAX_COUNTDOWN_S)


def next_phases(
    phase: Phase, *, is_blind: bool, has_second_vote: bool, vote_round: int, are_shown: bool
) -> tuple[Phase, ...]:
    """The phases that may follow, the usual one first; from the lobby only a new round leads on.

    are_shown  whether both answers are there to be voted on
    """
    match phase:
        case Phase.HUMAN:
            return (Phase.ANSWERS, Phase.LOBBY)
        case Phase.ANSWERS:
            return (Phase.VOTING, Phase.LOBBY) if are_shown else (Phase.LOBBY,)
        case Phase.VOTING:
            return (Phase.CLOSED,) if is_blind else (Phase.REVEAL,)
        case Phase.CLOSED:
            return (Phase.REVEAL,)
        case Phase.REVEAL if has_second_vote and vote_round == 1:
            return (Phase.SECOND_VOTE, Phase.LOBBY)
        case Phase.REVEAL:
            return (Phase.LOBBY,)
        case Phase.SECOND_VOTE:
            return (Phase.REVEAL,)
    return ()


def steps(room: Room, current: Round | None, at: datetime) -> tuple[Phase, ...]:
    """What the host can do next."""
    if current is None:
        return ()
    return next_phases(
        Phase(room.phase),
        is_blind=current.is_blind,
        has_second_vote=current.has_second_vote,
        vote_round=room.vote_round,
        are_shown=released_share(current, at) == 1 and not has_failed(current),
    )


def current_row(session: Session, room: Room) -> Round | None:
    """The same without its prompt and answers, for a tap of one among hundreds."""
    query = select(Round).where(Round.room_id == room.id, Round.number == room.round_number)
    return session.scalar(query)


def current(session: Session, room: Room) -> Round | None:
    """The round that is on, or was last, with its prompt and answers."""
    query = (
        select(Round)
        .where(Round.room_id == room.id, Round.number == room.round_number)
        .options(
            joinedload(Round.prompt),
            joinedload(Round.base).joinedload(Generation.checkpoint),
            joinedload(Round.tuned).joinedload(Generation.checkpoint),
        )
        .execution_options(populate_existing=True)  # the answers may have come since it was read
    )
    return session.scalar(query)


def start(
    session: Session, room: Room, version: int, prompt_id: int, options: RoundOptions
) -> Round:
    """Put a prompt to the room. Only from the lobby."""
    _lock(session, room, version)
    if room.phase != Phase.LOBBY:
        raise Conflict(N_("Termine a rodada atual antes de começar outra."))
    prompt = rooms.prompt(session, room, prompt_id)
    if prompt.author == Author.STUDENT and prompt.approved_at is None:
        raise Conflict(N_("Aprove a pergunta antes de mostrá-la."))
    count = select(func.max(Round.number)).where(Round.room_id == room.id)
    room.round_number = (session.scalar(count) or 0) + 1
    round_ = Round(
        room_id=room.id,
        number=room.round_number,
        prompt_id=prompt.id,
        asks_people=options.asks_people,
        is_blind=options.is_blind,
        has_second_vote=options.has_second_vote,
        n_samples=options.n_samples,
        countdown_s=options.countdown_s,
    )
    session.add(round_)
    room.vote_round = 1
    room.shown_prompt_id = None
    _enter(session, room, round_, Phase.HUMAN if options.asks_people else Phase.ANSWERS)
    return round_


def advance(session: Session, room: Room, version: int, to: Phase) -> Round:
    """The next step, if the host's window knew the present one; Conflict where another window was faster."""
    _lock(session, room, version)
    round_ = current(session, room)
    if round_ is None or to not in steps(room, round_, now()):
        raise Conflict(N_("Este passo não é possível agora."))
    _enter(session, room, round_, to)
    return round_


def _enter(session: Session, room: Room, round_: Round, phase: Phase) -> None:
    at = now()
    leaving = Phase(room.phase)
    if leaving == Phase.VOTING:
        round_.closed_at = at
    elif leaving == Phase.SECOND_VOTE:
        round_.second_closed_at = at
    if phase == Phase.VOTING:
        round_.opened_at = at
    elif phase == Phase.SECOND_VOTE:
        round_.second_opened_at, room.vote_round = at, 2
    elif phase == Phase.REVEAL and round_.revealed_at is None:
        round_.revealed_at = at
    room.phase = phase
    room.version += 1
    is_counted = phase in COUNTED and round_.countdown_s
    room.phase_ends_at = at + timedelta(seconds=round_.countdown_s or 0) if is_counted else None
    session.flush()
    touch(session, room_topic(room.id), phase_topic(room.id))


def _lock(session: Session, room: Room, version: int) -> None:
    """Nobody else moves the room until this transaction ends; Conflict if somebody did since `version`."""
    session.refresh(room, with_for_update=True)
    if room.version != version:
        raise Conflict(N_("A sala já está em outro passo; a página foi atualizada."))


def has_failed(round_: Round) -> bool:
    """Whether there is nothing fair to vote on: a model has failed, or never answered."""
    answers = (round_.base, round_.tuned)
    return any(a is None or a.finish_reason not in WHOLE for a in answers)


def released_share(round_: Round, at: datetime) -> float:
    """How much of both answers is in view, from 0 to 1."""
    if round_.released_at is None:
        return 0.0
    return min(1.0, max(0.0, (at - round_.released_at).total_seconds() / RELEASE_S))


def released_text(text: str, share: float) -> str:
    """The beginning of an answer that is in view, cut between words."""
    if share >= 1:
        return text
    cut = round(len(text) * share)
    space = text.rfind(" ", 0, cut + 1)
    return text[: max(space, 0)]


def ends_at(room: Room, round_: Round, member: Participant) -> datetime | None:
    """The end of this person's countdown; none where there is none."""
    if room.phase_ends_at is None or round_.countdown_s is None:
        return None
    more = (MORE_TIME - 1) * round_.countdown_s if member.has_more_time else 0
    return room.phase_ends_at + timedelta(seconds=more)


def check_time(room: Room, round_: Round, member: Participant) -> None:
    """Conflict where this person's countdown is over."""
    end = ends_at(room, round_, member)
    if end is not None and now() > end + GRACE:
        raise Conflict(N_("O tempo acabou."))
