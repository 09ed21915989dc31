"""Who is asking: a browser with a random cookie, nothing more."""

from contextlib import suppress

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
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
        with suppress(IntegrityError), session.begin_nested():  # two first prompts at once
            session.add(participant)
            session.flush()
            return participant
        participant = find(session, token)
        assert participant is not None
    return participant
