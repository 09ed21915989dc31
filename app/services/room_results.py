"""What a class said of its rounds: from the rows of a room to numbers that can be shown.

Only students who were not removed count, each with one vote. The statistics are those of `results.py`.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from sqlalchemy import func, select
from sqlalchemy.orm import Session, joinedload

from app.services.ballots import Verdict, Voter, voters
from app.services.picture import Picture, Who, picture
from app.services.results import MIN_FOR_PERCENT, Effect, Preferences, Share, bootstrap_effects
from app.services.rounds import WHOLE
from app.services.tallies import (
    GuessSplit,
    Interval,
    Shift,
    Votes,
    by_person,
    count_preferences,
    count_shift,
    count_votes,
    people_interval,
    split_by_guess,
)
from app.tables import (
    AnswerKind,
    Author,
    Checkpoint,
    Generation,
    HumanAnswer,
    Participant,
    Role,
    Round,
    SampleBatch,
    Side,
)

SEED = 0  # of the bootstrap: the same votes always give the same interval


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerFacts:
    """The answer of one checkpoint to a round's prompt."""

    text: str
    seed: int
    finish: str | None
    n_tokens: int | None  # none where another server wrote it
    n_words: int
    total_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundResults:
    """One round. With `picture` and `first.up` goes who is who: before the reveal show only `totals`."""

    round_id: int
    number: int
    prompt: str
    is_public: bool  # not a student's own that was never approved
    kind: AnswerKind
    is_blind: bool
    is_played: bool  # both answered, and votes were asked for
    n_exposed: int
    n_human_answers: int
    answers: Mapping[Role, AnswerFacts]  # those that came to an end by themselves
    first: Votes
    second: Votes | None  # after the reveal; none where there was none
    shift: Shift | None
    picture: Picture


@dataclass(frozen=True, slots=True)
class PooledShare(Share):
    """A share of the votes of many rounds: its interval draws people, and few people make no percentage."""

    n_people: int
    people_interval: Interval | None

    @property
    def shows_percent(self) -> bool:
        return self.n_people >= MIN_FOR_PERCENT

    @property
    def interval(self) -> Interval | None:
        return self.people_interval


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleSummary:
    """One checkpoint over all rounds of a class."""

    up: PooledShare
    median_tokens: float | None
    median_words: float | None
    median_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassSummary:
    """All rounds of a room that were played; first votes only."""

    n_rounds: int
    n_open_rounds: int  # of them, in which the names were known from the start
    n_participants: int
    n_voters: int
    n_votes: int  # thumbs, preferences and guesses
    by_role: Mapping[Role, RoleSummary]
    preferences: Preferences
    preferred: PooledShare  # the fine-tuned, among the decided
    left: PooledShare  # the left side, among the decided
    effects: tuple[Effect, Effect]  # of the side and of the model
    guess: PooledShare
    by_guess: GuessSplit  # votes, not people: no p of it would be right

    @property
    def shows_percent(self) -> bool:
        """Many votes of few people are few people."""
        return self.n_voters >= MIN_FOR_PERCENT


def round_results(session: Session, round_id: int) -> RoundResults:
    rounds = session.scalars(_ROUNDS.where(Round.id == round_id)).all()
    return _results(session, rounds, voters(session, [round_id]))[0]


def room_results(session: Session, room_id: int) -> tuple[list[RoundResults], ClassSummary]:
    """Every round of a room in its order, and all of them together."""
    query = _ROUNDS.where(Round.room_id == room_id).order_by(Round.number)
    rounds = session.scalars(query).all()
    by_round = voters(session, [round_.id for round_ in rounds])
    results = _results(session, rounds, by_round)
    n_participants = session.scalar(
        select(func.count(Participant.id)).where(
            Participant.room_id == room_id, Participant.removed_at.is_(None)
        )
    )
    cast = [v for result in results if result.is_played for v in by_round[result.round_id]]
    return results, _summary(results, cast, n_participants or 0)


def class_summary(session: Session, room_id: int) -> ClassSummary:
    return room_results(session, room_id)[1]


_ROUNDS = select(Round).options(
    joinedload(Round.prompt), joinedload(Round.base), joinedload(Round.tuned)
)


def _results(
    session: Session, rounds: Sequence[Round], by_round: Mapping[int, list[Voter]]
) -> list[RoundResults]:
    answers = _people_and_samples(session, [round_.id for round_ in rounds])
    return [_result(round_, by_round[round_.id], answers[round_.id]) for round_ in rounds]


def _result(
    round_: Round, theirs: Sequence[Voter], answers: Mapping[Who, Sequence[str]]
) -> RoundResults:
    kind = AnswerKind(round_.prompt.answer_kind)
    is_public = round_.prompt.author != Author.STUDENT or round_.prompt.approved_at is not None
    second = count_votes(theirs, 2)
    facts = {
        role: _facts(generation)
        for role, generation in ((Role.BASE, round_.base), (Role.TUNED, round_.tuned))
        if generation is not None and generation.finish_reason in WHOLE
    }
    return RoundResults(
        round_id=round_.id,
        number=round_.number,
        prompt=round_.prompt.text,
        is_public=is_public,
        kind=kind,
        is_blind=round_.is_blind,
        is_played=round_.opened_at is not None and len(facts) == len(Role),
        n_exposed=len(theirs),
        n_human_answers=len(answers.get(Who.CLASS, ())),
        answers=facts,
        first=count_votes(theirs),
        second=second if second.n_voted else None,
        shift=count_shift(theirs),
        picture=picture(kind, answers, seed=round_.id),
    )


def _facts(generation: Generation) -> AnswerFacts:
    return AnswerFacts(
        text=generation.text,
        seed=generation.seed,
        finish=generation.finish_reason,
        n_tokens=len(generation.completion_ids) if generation.completion_ids else None,
        n_words=len(generation.text.split()),
        total_ms=generation.total_ms,
    )


def _people_and_samples(
    session: Session, round_ids: Sequence[int]
) -> dict[int, dict[Who, list[str]]]:
    """By round, what the students answered and what each checkpoint did when asked again and again."""
    found: defaultdict[int, dict[Who, list[str]]] = defaultdict(dict)
    people = (
        select(HumanAnswer.round_id, HumanAnswer.text)
        .join(Participant, Participant.id == HumanAnswer.participant_id)
        .where(HumanAnswer.round_id.in_(round_ids), Participant.removed_at.is_(None))
        .order_by(HumanAnswer.id)
    )
    for round_id, text in session.execute(people):
        found[round_id].setdefault(Who.CLASS, []).append(text)
    samples = (
        select(SampleBatch.round_id, Checkpoint.role, SampleBatch.texts)
        .join(Checkpoint, Checkpoint.id == SampleBatch.checkpoint_id)
        .where(SampleBatch.round_id.in_(round_ids))
        .order_by(SampleBatch.id)
    )
    for round_id, role, texts in session.execute(samples):
        found[round_id].setdefault(Who(role), []).extend(texts)
    return found


def _summary(
    results: Sequence[RoundResults], cast: Sequence[Voter], n_participants: int
) -> ClassSummary:
    ballots = [voter.ballot(1) for voter in cast]
    played = [result for result in results if result.is_played]
    deciders = [p for theirs in by_person(cast) if (p := count_preferences(theirs)).share.n]
    return ClassSummary(
        n_rounds=len(played),
        n_open_rounds=sum(not result.is_blind for result in played),
        n_participants=n_participants,
        n_voters=len({voter.participant_id for voter in cast if not voter.ballot(1).is_empty}),
        n_votes=sum(
            len(b.thumbs) + (b.verdict is not None) + (b.guessed_right is not None) for b in ballots
        ),
        by_role={role: _role_summary(role, played, cast) for role in Role},
        preferences=count_preferences(cast),
        preferred=_pooled(cast, _prefers_tuned),
        left=_pooled(cast, _prefers_left),
        effects=bootstrap_effects(deciders, seed=SEED),
        guess=_pooled(cast, lambda voter: voter.ballot(1).guessed_right),
        by_guess=split_by_guess(cast),
    )


def _prefers_tuned(voter: Voter) -> bool | None:
    verdict = voter.ballot(1).verdict
    return verdict == Verdict.TUNED if verdict in (Verdict.TUNED, Verdict.BASE) else None


def _prefers_left(voter: Voter) -> bool | None:
    tuned = _prefers_tuned(voter)
    return None if tuned is None else tuned == (voter.tuned_side == Side.LEFT)


def _pooled(cast: Sequence[Voter], said: Callable[[Voter], bool | None]) -> PooledShare:
    share, interval, n_people = people_interval(cast, said, seed=SEED)
    return PooledShare(share.k, share.n, n_people, interval)


def _role_summary(role: Role, played: Sequence[RoundResults], cast: Sequence[Voter]) -> RoleSummary:
    answers = [result.answers[role] for result in played]

    def is_up(voter: Voter) -> bool | None:
        thumb = voter.ballot(1).thumbs.get(role)
        return None if thumb is None else thumb == 1

    tokens = [a.n_tokens for a in answers if a.n_tokens is not None]
    times = [a.total_ms for a in answers if a.total_ms is not None]
    return RoleSummary(
        up=_pooled(cast, is_up),
        median_tokens=median(tokens) if tokens else None,
        median_words=median(a.n_words for a in answers) if answers else None,
        median_ms=median(times) if times else None,
    )
