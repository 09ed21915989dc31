"""All tables. Times are aware UTC, durations milliseconds, log-probabilities nats.

Votes are events that are only ever added; the vote that counts is the latest of its kind (`current_vote`).
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    ColumnClause,
    DateTime,
    Dialect,
    ForeignKey,
    MetaData,
    TableClause,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Role(StrEnum):
    BASE = "base"
    TUNED = "tuned"


class Envelope(StrEnum):
    RAW = "raw"
    CHAT = "chat"


class Finish(StrEnum):
    STOP = "stop"  # it ended by itself
    LENGTH = "length"  # it was cut at the limit
    CANCELLED = "cancelled"  # nobody was watching any more
    ERROR = "error"
    UNREACHABLE = "unreachable"  # the last three: another server's faults
    TIMEOUT = "timeout"
    RUBBISH = "rubbish"


class Side(StrEnum):
    LEFT = "left"
    RIGHT = "right"


class VoteKind(StrEnum):
    THUMB = "thumb"  # of one answer: value +1 or -1
    REASONS = "reasons"  # of one answer: the chips that were tapped
    PREFERENCE = "preference"  # of the pair: choice left, right, tie or both-bad
    GUESS = "guess"  # of the pair: which side is the base, choice left or right


class Target(StrEnum):
    """What a vote is about; one answer, or both together."""

    LEFT = "left"
    RIGHT = "right"
    PAIR = "pair"


class Choice(StrEnum):
    LEFT = "left"
    RIGHT = "right"
    TIE = "tie"
    BOTH_BAD = "both-bad"


class Reason(StrEnum):
    INVENTED = "invented"
    NO_ANSWER = "no-answer"
    ONLY_CONTINUED = "only-continued"
    REPETITIVE = "repetitive"
    SYCOPHANTIC = "sycophantic"
    OBVIOUS = "obvious"
    DIRECT = "direct"
    CORRECT = "correct"


class Phase(StrEnum):
    """Where a room stands; what every window of it shows."""

    LOBBY = "lobby"
    HUMAN = "human-answers"
    ANSWERS = "answers"
    VOTING = "voting"
    CLOSED = "closed"
    REVEAL = "reveal"
    SECOND_VOTE = "second-vote"


class Author(StrEnum):
    DECK = "deck"
    TEACHER = "teacher"
    STUDENT = "student"


class AnswerKind(StrEnum):
    """How the answers of many are put into one picture."""

    NUMBER = "number"  # a histogram from 1 to 100
    WORDS = "words"  # bars of the most frequent
    LIST = "list"  # likewise, of each thing that an answer names
    TEXT = "text"  # no picture


class KeyKind(StrEnum):
    HOST = "host"
    PROJECTOR = "projector"


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC in and out, on SQLite too, which forgets the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError(f"a time without a zone: {value}")
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


def now() -> datetime:
    return datetime.now(UTC)


class Table(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy reads it from the class)
        datetime: UtcDateTime(),
        str: Text(),
        dict[str, Any]: JSON(),
        list[int]: JSON(none_as_null=True),
        list[float]: JSON(none_as_null=True),
        list[str]: JSON(none_as_null=True),
    }


class Checkpoint(Table):
    """One set of weights that ever answered here."""

    __tablename__ = "checkpoint"
    __table_args__ = (UniqueConstraint("sha256", "role"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    role: Mapped[str]
    name: Mapped[str]
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("checkpoint.id"))
    sha256: Mapped[str]
    n_parameters: Mapped[int] = mapped_column(BigInteger)
    tokens_seen: Mapped[int] = mapped_column(BigInteger)
    recipe: Mapped[dict[str, Any]]  # training.json without the curve
    created_at: Mapped[datetime] = mapped_column(default=now)


class Teacher(Table):
    """Who may open rooms here: a password, set on first use, of which only the argon2 hash is kept."""

    __tablename__ = "teacher"
    id: Mapped[int] = mapped_column(primary_key=True)
    password_hash: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=now)


class TeacherSession(Table):
    """One browser of the teacher, or the link that was printed at a start."""

    __tablename__ = "teacher_session"
    id: Mapped[int] = mapped_column(primary_key=True)
    token_hash: Mapped[str] = mapped_column(unique=True)
    expires_at: Mapped[datetime]
    created_at: Mapped[datetime] = mapped_column(default=now)


class Room(Table):
    """One class. Its current round is the one with its `round_number`."""

    __tablename__ = "room"
    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(unique=True)  # six unambiguous characters
    phase: Mapped[str] = mapped_column(default=Phase.LOBBY)
    version: Mapped[int] = mapped_column(default=0)  # one more at every change of phase
    round_number: Mapped[int] = mapped_column(default=0)  # 0: none yet
    vote_round: Mapped[int] = mapped_column(default=1)  # 2 from the second vote on
    phase_ends_at: Mapped[datetime | None]  # the countdown, for show: the host ends a phase
    allows_free_play: Mapped[bool] = mapped_column(default=False)
    n_joined: Mapped[int] = mapped_column(default=0)  # ever; numbers the pseudonyms
    shown_prompt_id: Mapped[int | None]  # a student's exchange that the projector shows
    erase_at: Mapped[datetime] = mapped_column(index=True)
    created_at: Mapped[datetime] = mapped_column(default=now)


class RoomKey(Table):
    """A token that opens the host's page or the projector's; only its hash is kept."""

    __tablename__ = "room_key"
    id: Mapped[int] = mapped_column(primary_key=True)
    room_id: Mapped[int] = mapped_column(ForeignKey("room.id"), index=True)
    kind: Mapped[str]
    token_hash: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(default=now)


class Participant(Table):
    """One browser, on the open page or in one room. No name, no address: a random cookie, of which only a hash is kept.

    In a room the hash is of the cookie and the room's code, so that nobody can be followed from room to room.
    """

    __tablename__ = "participant"
    id: Mapped[int] = mapped_column(primary_key=True)
    token_hash: Mapped[str] = mapped_column(unique=True)
    room_id: Mapped[int | None] = mapped_column(ForeignKey("room.id"), index=True)
    pseudonym: Mapped[str] = mapped_column(default="")
    last_seen_at: Mapped[datetime | None]  # while its page is open, every few seconds
    removed_at: Mapped[datetime | None]
    has_more_time: Mapped[bool] = mapped_column(default=False)  # its countdown is longer
    consents_to_training: Mapped[bool] = mapped_column(default=False)
    consent_at: Mapped[datetime | None]
    consent_version: Mapped[int | None]  # of the text that was agreed to
    created_at: Mapped[datetime] = mapped_column(default=now)


class Prompt(Table):
    """What was asked."""

    __tablename__ = "prompt"
    id: Mapped[int] = mapped_column(primary_key=True)
    participant_id: Mapped[int | None] = mapped_column(ForeignKey("participant.id"), index=True)
    room_id: Mapped[int | None] = mapped_column(ForeignKey("room.id"), index=True)
    author: Mapped[str] = mapped_column(default=Author.STUDENT)
    answer_kind: Mapped[str] = mapped_column(default=AnswerKind.TEXT)
    text: Mapped[str]
    is_from_deck: Mapped[bool]  # one of the lecture's five, word for word
    offered_at: Mapped[datetime | None]  # a student's: when it was offered to the class
    approved_at: Mapped[datetime | None]  # a student's: when the host let it be shown and exported
    created_at: Mapped[datetime] = mapped_column(default=now)


class Generation(Table):
    """One answer of one checkpoint, with all that is needed to make it again."""

    __tablename__ = "generation"
    id: Mapped[int] = mapped_column(primary_key=True)
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompt.id"), index=True)
    checkpoint_id: Mapped[int] = mapped_column(ForeignKey("checkpoint.id"), index=True)
    envelope: Mapped[str]
    prompt_ids: Mapped[list[int]]  # what the network read, token by token
    seed: Mapped[int] = mapped_column(BigInteger)
    temperature: Mapped[float]
    top_k: Mapped[int]
    top_p: Mapped[float]
    max_tokens: Mapped[int]
    code_version: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=now)
    # known at the end
    completion_ids: Mapped[list[int] | None]
    logps: Mapped[list[float] | None]  # of each completion token
    text: Mapped[str] = mapped_column(default="")
    finish_reason: Mapped[str | None]  # none while it is being written
    queue_ms: Mapped[float | None]
    first_token_ms: Mapped[float | None]  # from the request
    total_ms: Mapped[float | None]

    checkpoint: Mapped[Checkpoint] = relationship(lazy="raise")
    prompt: Mapped[Prompt] = relationship(lazy="raise")


class Exposure(Table):
    """What one participant was shown, and on which side: the denominator of every statistic."""

    __tablename__ = "exposure"
    __table_args__ = (UniqueConstraint("round_id", "participant_id"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(unique=True)  # in addresses; cannot be guessed
    participant_id: Mapped[int] = mapped_column(ForeignKey("participant.id"), index=True)
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompt.id"), index=True)
    round_id: Mapped[int | None] = mapped_column(ForeignKey("round.id"))  # none on the open page
    left_id: Mapped[int] = mapped_column(ForeignKey("generation.id"), index=True)
    right_id: Mapped[int] = mapped_column(ForeignKey("generation.id"), index=True)
    shown_at: Mapped[datetime] = mapped_column(default=now)
    revealed_at: Mapped[datetime | None]  # when the names were known; on the open page, at once

    prompt: Mapped[Prompt] = relationship(lazy="raise")
    left: Mapped[Generation] = relationship(lazy="raise", foreign_keys=left_id)
    right: Mapped[Generation] = relationship(lazy="raise", foreign_keys=right_id)


class Round(Table):
    """One prompt put to a room. Each checkpoint answers once, for all; sides are drawn for each participant."""

    __tablename__ = "round"
    __table_args__ = (UniqueConstraint("room_id", "number"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    room_id: Mapped[int] = mapped_column(ForeignKey("room.id"), index=True)
    number: Mapped[int]  # from 1
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompt.id"), index=True)
    asks_people: Mapped[bool]  # first the people, then the models
    is_blind: Mapped[bool]  # no name before the reveal
    has_second_vote: Mapped[bool]
    n_samples: Mapped[int]  # answers of each checkpoint for the picture; 0: none
    countdown_s: Mapped[int | None]
    base_id: Mapped[int | None] = mapped_column(ForeignKey("generation.id"))
    tuned_id: Mapped[int | None] = mapped_column(ForeignKey("generation.id"))
    released_at: Mapped[datetime | None]  # when both answers were there, and began to be shown
    opened_at: Mapped[datetime | None]  # voting
    closed_at: Mapped[datetime | None]
    revealed_at: Mapped[datetime | None]
    second_opened_at: Mapped[datetime | None]
    second_closed_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)

    prompt: Mapped[Prompt] = relationship(lazy="raise")
    base: Mapped[Generation | None] = relationship(lazy="raise", foreign_keys=base_id)
    tuned: Mapped[Generation | None] = relationship(lazy="raise", foreign_keys=tuned_id)


class HumanAnswer(Table):
    """What a student answered first, before seeing any model."""

    __tablename__ = "human_answer"
    __table_args__ = (UniqueConstraint("round_id", "participant_id"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    round_id: Mapped[int] = mapped_column(ForeignKey("round.id"))
    participant_id: Mapped[int] = mapped_column(ForeignKey("participant.id"), index=True)
    text: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=now)


class SampleBatch(Table):
    """Many answers of one checkpoint to a round's prompt, seeds `first_seed` and up, for the picture."""

    __tablename__ = "sample_batch"
    __table_args__ = (UniqueConstraint("round_id", "checkpoint_id"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    round_id: Mapped[int] = mapped_column(ForeignKey("round.id"))
    checkpoint_id: Mapped[int] = mapped_column(ForeignKey("checkpoint.id"), index=True)
    first_seed: Mapped[int] = mapped_column(BigInteger)
    max_tokens: Mapped[int]
    texts: Mapped[list[str]]
    total_ms: Mapped[float]
    created_at: Mapped[datetime] = mapped_column(default=now)


class VoteEvent(Table):
    """One tap. Never changed, and deleted only with its owner's data: a change of mind is a new event."""

    __tablename__ = "vote_event"
    __table_args__ = (
        CheckConstraint("target IN ('left', 'right', 'pair')", name="target"),
        CheckConstraint("value IN (-1, 1)", name="value"),
        CheckConstraint("choice IN ('left', 'right', 'tie', 'both-bad')", name="choice"),
        UniqueConstraint("exposure_id", "idempotency_key"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    exposure_id: Mapped[int] = mapped_column(ForeignKey("exposure.id"), index=True)
    kind: Mapped[str]
    target: Mapped[str]
    vote_round: Mapped[int] = mapped_column(default=1)  # 2 in the second vote of a round
    value: Mapped[int | None]  # of a thumb: +1, -1; none takes it back
    choice: Mapped[str | None]  # of a preference or a guess; none takes it back
    reasons: Mapped[list[str] | None]  # the chips that are down now
    ms_since_shown: Mapped[float]
    is_after_reveal: Mapped[bool]
    idempotency_key: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=now)


# The latest event of each kind for each target in each vote; made by the migrations. A withdrawn vote has neither value nor
# choice.
current_vote = TableClause(
    "current_vote",
    *(
        ColumnClause(name)
        for name in ("id", "exposure_id", "kind", "target", "vote_round", "value", "choice")
    ),
    ColumnClause("reasons", JSON()),
    ColumnClause("created_at", UtcDateTime()),
)
