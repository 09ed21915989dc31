"""Who is asking: a browser with a random cookie, nothing more."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.security import hash_token
from app.tables import Participant


def find(session: Session, token: str | None) -> Participant | None:
    """The participant of a cookie, if there is one."""
    if not token:
        return None
    query = select(Participant).where(Participant.token_hash == hash_token(token))
    return session.scalar(query)


def find_or_create(session: Session, token: str) -> Participant:
    participant = find(session, token)
    if participant is None:
        participant = Participant(token_hash=hash_token(token))
        session.add(participant)
        session.flush()
    return participant
