"""Thumbs: events that are only ever added, and the vote that counts among them."""

from contextlib import suppress

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.errors import N_, Conflict
from app.services import exchanges
from app.tables import Exposure, Participant, Side, VoteEvent, VoteKind, current_vote, now


def cast_thumb(
    session: Session,
    participant: Participant | None,
    public_id: str,
    side: Side,
    value: int | None,
    key: str,
) -> Exposure:
    """A thumb up (+1), down (-1) or taken back (none) on a finished answer of one's own.

    The same key sent twice is one vote: a retry or a double tap changes nothing.
    """
    exposure = exchanges.get(session, participant, public_id)
    if exchanges.generation_on(exposure, side).finish_reason is None:
        raise Conflict(N_("Espere a resposta terminar para votar."))
    elapsed = now() - exposure.shown_at
    event = VoteEvent(
        exposure_id=exposure.id,
        kind=VoteKind.THUMB,
        target=side,
        value=value,
        ms_since_shown=round(elapsed.total_seconds() * 1000, 1),
        is_after_reveal=exposure.revealed_at is not None,
        idempotency_key=f"{side} {value} {key}",
    )
    with suppress(IntegrityError), session.begin_nested():  # this key may have been here before
        session.add(event)
    return exposure


def current_thumbs(session: Session, exposure: Exposure) -> dict[Side, int]:
    """The thumbs that count on one exposure; a withdrawn one is not among them."""
    query = select(current_vote.c.target, current_vote.c.value).where(
        current_vote.c.exposure_id == exposure.id,
        current_vote.c.kind == VoteKind.THUMB,
        current_vote.c.value.is_not(None),
    )
    return {Side(target): value for target, value in session.execute(query)}
