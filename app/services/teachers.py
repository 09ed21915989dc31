"""Who may open rooms: the password that is set on first use, the link that is printed at a start, a cookie."""

from datetime import timedelta

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.errors import N_, Conflict, Forbidden, Invalid
from app.security import hash_token, new_token
from app.tables import Teacher, TeacherSession, now

SESSION_LASTS = timedelta(days=30)
LINK_LASTS = timedelta(days=2)
MIN_PASSWORD, MAX_PASSWORD = 8, 200


def has_password(session: Session) -> bool:
    return session.scalar(select(Teacher.id).limit(1)) is not None


def set_password(session: Session, password: str) -> None:
    """On first use; Conflict where one is set already."""
    if has_password(session):
        raise Conflict(N_("A senha já foi definida. Entre com ela."))
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise Invalid(N_("A senha precisa de %(n)s caracteres ou mais."), n=MIN_PASSWORD)
    session.add(Teacher(id=1, password_hash=PasswordHasher().hash(password)))


def check_password(session: Session, password: str) -> None:
    """Takes a third of a second on purpose; Forbidden where it is another."""
    teacher = session.scalar(select(Teacher).limit(1))
    try:
        if teacher is not None and len(password) <= MAX_PASSWORD:
            PasswordHasher().verify(teacher.password_hash, password)
            return
    except (VerificationError, InvalidHashError):
        pass
    raise Forbidden(N_("A senha não confere."))


def open_session(session: Session, lasts: timedelta = SESSION_LASTS) -> str:
    """A new token for a browser or a printed link; only its hash is kept."""
    session.execute(delete(TeacherSession).where(TeacherSession.expires_at < now()))
    token = new_token()
    session.add(TeacherSession(token_hash=hash_token(token), expires_at=now() + lasts))
    return token


def is_signed_in(session: Session, token: str | None) -> bool:
    if not token:
        return False
    query = select(TeacherSession.expires_at).where(TeacherSession.token_hash == hash_token(token))
    expires_at = session.scalar(query)
    return expires_at is not None and expires_at > now()


def sign_out(session: Session, token: str | None) -> None:
    if token:
        session.execute(
            delete(TeacherSession).where(TeacherSession.token_hash == hash_token(token))
        )
