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
    THUMB = "thumb"


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


class Participant(Table):
    """One browser. No name, no address: a random cookie, of which only the hash is kept."""

    __tablename__ = "participant"
    id: Mapped[int] = mapped_column(primary_key=True)
    token_hash: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(default=now)


class Prompt(Table):
    """What was asked."""

    __tablename__ = "prompt"
    id: Mapped[int] = mapped_column(primary_key=True)
    participant_id: Mapped[int] = mapped_column(ForeignKey("participant.id"), index=True)
    text: Mapped[str]
    is_from_deck: Mapped[bool]  # one of the lecture's five, word for word
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
    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(unique=True)  # in addresses; cannot be guessed
    participant_id: Mapped[int] = mapped_column(ForeignKey("participant.id"), index=True)
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompt.id"), index=True)
    left_id: Mapped[int] = mapped_column(ForeignKey("generation.id"), index=True)
    right_id: Mapped[int] = mapped_column(ForeignKey("generation.id"), index=True)
    shown_at: Mapped[datetime] = mapped_column(default=now)
    revealed_at: Mapped[datetime | None]  # when the names were known; on the open page, at once

    prompt: Mapped[Prompt] = relationship(lazy="raise")
    left: Mapped[Generation] = relationship(lazy="raise", foreign_keys=left_id)
    right: Mapped[Generation] = relationship(lazy="raise", foreign_keys=right_id)


class VoteEvent(Table):
    """One tap on a thumb. Never changed, never deleted: a change of mind is a new event."""

    __tablename__ = "vote_event"
    __table_args__ = (
        CheckConstraint("target IN ('left', 'right')", name="target"),
        CheckConstraint("value IN (-1, 1)", name="value"),
        UniqueConstraint("exposure_id", "idempotency_key"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    exposure_id: Mapped[int] = mapped_column(ForeignKey("exposure.id"), index=True)
    kind: Mapped[str]
    target: Mapped[str]
    value: Mapped[int | None]  # +1, -1; none takes the vote back
    ms_since_shown: Mapped[float]
    is_after_reveal: Mapped[bool]
    idempotency_key: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=now)


# The latest event of each kind for each answer; made by the migrations. A withdrawn vote has no value.
current_vote = TableClause(
    "current_vote",
    *(
        ColumnClause(name)
        for name in ("id", "exposure_id", "kind", "target", "value", "created_at")
    ),
)
