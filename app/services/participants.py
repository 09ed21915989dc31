"""Who is asking: a browser with a random cookie, nothing more."""

from collections.abc import Sequence
from contextlib import suppress

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.security import hash_token
from app.services import rooms
from app.tables import Exposure, Participant, Room


def find(session: Session, token: str | None) -> Participant | None:
    """The participant of a cookie, if there is one."""
    if not token:
        return None
    query = select(Participant).where(Participant.token_hash == hash_token(token))
    return session.scalar(query)


def of_exchange(session: Session, token: str | None, public_id: str) -> Participant | None:
    """The participant of a cookie to whom an exchange belongs, on the open page or in a room."""
    if not token or not (public_id.isascii() and public_id.isprintable()):
        return None
    query = (
        select(Participant, Room)
        .join(Exposure, Exposure.participant_id == Participant.id)
        .join(Room, Room.id == Participant.room_id, isouter=True)
        .where(Exposure.public_id == public_id)
    )
    found = session.execute(query).one_or_none()
    if found is None:
        return None
    participant: Participant = found[0]
    room: Room | None = found[1]
    expected = hash_token(token) if room is None else rooms.member_hash(room, token)
    return participant if participant.token_hash == expected else None


def find_or_create_all(session: Session, tokens: Sequence[str]) -> list[Participant]:
    """The participants of cookies, in their order; those that are new are made."""
    hashes = [hash_token(token) for token in tokens]
    query = select(Participant).where(Participant.token_hash.in_(hashes))
    people = {person.token_hash: person for person in session.scalars(query)}
    new = [Participant(token_hash=h) for h in dict.fromkeys(hashes) if h not in people]
    with suppress(IntegrityError), session.begin_nested():
        session.add_all(new)
        session.flush()
        people |= {person.token_hash: person for person in new}
        return [people[h] for h in hashes]
    return find_or_create_all(session, tokens)  # another process was the first with one of them
