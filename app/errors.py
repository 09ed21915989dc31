"""What can go wrong for a person, in the product's words; each knows its HTTP status.

The sentence is a message id (pt-BR); values are put in after it was translated.
"""

import logging

log = logging.getLogger(__name__)


def N_(message: str) -> str:
    """Marks a message for translation; it is translated where it is shown."""
    return message


class AppError(Exception):
    status = 500

    def __init__(self, message: str, **values: object) -> None:
        super().__init__(message)
        self.message, self.values = message, values

    def __str__(self) -> str:
        return self.message % self.values


class Invalid(AppError):
    """What was sent cannot be used."""

    status = 422


class NotFound(AppError):
    """It does not exist, or it is somebody else's."""

    status = 404


class Forbidden(AppError):
    """Whoever asks may not."""

    status = 403


class Conflict(AppError):
    """It cannot be done now."""

    status = 409


class Busy(AppError):
    """The room is full; try again in a few seconds."""

    status = 503

    def __init__(self, message: str, *, retry_after_s: int, **values: object) -> None:
        super().__init__(message, seconds=retry_after_s, **values)
        self.retry_after_s = retry_after_s


class TooMany(Busy):
    """One asked too often."""

    status = 429


def database_busy(error: Exception) -> Busy:
    """What a person is told where the database cannot be reached or written now."""
    log.error("the database refused: %s", error)
    return Busy(
        N_("O banco de dados não aceitou agora; nada se perdeu. Tente de novo em %(seconds)s s."),
        retry_after_s=3,
    )


def retry_after(error: AppError) -> dict[str, str]:
    return {"Retry-After": str(error.retry_after_s)} if isinstance(error, Busy) else {}


class Unusable(Exception):
    """The program cannot start or go on; the message says why and what to do. For the terminal."""
