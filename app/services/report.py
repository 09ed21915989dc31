"""What the class report is made of: all rounds, all of them together, and the checkpoints that answered."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.services.room_results import ClassSummary, RoundResults, room_results
from app.tables import Checkpoint, Generation, Role, Room, Round

TOY_PARAMETERS = 200_000_000  # the well-known ones have hundreds of billions


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A checkpoint as a school reads of it. What another server does not tell is 0 or empty."""

    role: Role
    name: str
    sha256: str
    n_parameters: int
    tokens_seen: int
    finished: str  # the day its training ended
    server: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One class. No student and no pseudonym."""

    code: str
    day: datetime
    erase_at: datetime
    rounds: Sequence[RoundResults]  # those that were played
    summary: ClassSummary
    models: Sequence[Model]

    @property
    def are_same(self) -> bool:
        """Whether the same weights answered in every round."""
        return len(self.models) == len({model.role for model in self.models})

    @property
    def are_toys(self) -> bool:
        return all(0 < model.n_parameters < TOY_PARAMETERS for model in self.models)


def read_report(session: Session, room: Room) -> Report:
    results, summary = room_results(session, room.id)
    return Report(
        code=room.code,
        day=room.created_at,
        erase_at=room.erase_at,
        rounds=[result for result in results if result.is_played],
        summary=summary,
        models=_models(session, room),
    )


def _models(session: Session, room: Room) -> list[Model]:
    """Base first; more than two where the models were changed between rounds."""
    of_room = Round.room_id == room.id
    answered = (
        select(Generation.checkpoint_id)
        .join(Round, or_(Round.base_id == Generation.id, Round.tuned_id == Generation.id))
        .where(of_room)
    )
    query = select(Checkpoint).where(Checkpoint.id.in_(answered)).order_by(Checkpoint.id)
    found = [_model(checkpoint) for checkpoint in session.scalars(query)]
    return sorted(found, key=lambda model: list(Role).index(model.role))


def _model(checkpoint: Checkpoint) -> Model:
    recipe: dict[str, Any] = checkpoint.recipe
    return Model(
        role=Role(checkpoint.role),
        name=checkpoint.name,
        sha256=checkpoint.sha256,
        n_parameters=checkpoint.n_parameters,
        tokens_seen=checkpoint.tokens_seen,
        finished=str(recipe.get("finished", ""))[:10],
        server=str(recipe.get("server", "")),
    )
