"""Which weights ever answered here: a row for each, found by their SHA-256."""

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.services.facts import Facts
from app.tables import Checkpoint, Role


def register(session: Session, facts: list[Facts]) -> dict[Role, int]:
    """The row ids of the hosted checkpoints, new rows where these weights were never here."""
    if session.get_bind().dialect.name == "postgresql":  # another process may be starting too
        session.execute(text("LOCK TABLE checkpoint IN SHARE ROW EXCLUSIVE MODE"))
    ids: dict[Role, int] = {}
    for fact in facts:
        row = session.scalar(
            select(Checkpoint).where(Checkpoint.sha256 == fact.sha256, Checkpoint.role == fact.role)
        )
        if row is None:
            parent = session.scalar(
                select(Checkpoint).where(Checkpoint.sha256 == str(fact.recipe["parent_sha256"]))
            )
            row = Checkpoint(
                role=fact.role,
                name=fact.name,
                parent_id=parent.id if parent else None,
                sha256=fact.sha256,
                n_parameters=fact.n_parameters,
                tokens_seen=fact.tokens_seen,
                recipe=fact.recipe,
            )
            session.add(row)
            session.flush()
        ids[fact.role] = row.id
    return ids
