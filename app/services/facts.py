"""What the pages and the database say of the models that are asked here."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from app.tables import Role
from model.checkpoint import Checkpoint
from model.remote import RemoteModel
from model.transformer import count_parameters

Source = Checkpoint | RemoteModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One model. What another server does not tell is 0 or empty."""

    role: Role
    name: str
    server: str = ""  # host of the server that runs it; empty for our own engine
    sha256: str
    n_parameters: int = 0
    tokens_seen: int = 0  # in pretraining
    n_conversations: int = 0  # read in fine-tuning
    n_sources: int = 0  # texts of the pretraining corpus; 0 where its record does not say
    genre_shares: dict[str, float] = field(default_factory=dict)  # of a pass, largest first
    recipe: dict[str, object] = field(default_factory=dict)


def facts_of(role: Role, source: Source, base: Source) -> Facts:
    """A checkpoint's facts from its training record, and from that of the base it was tuned from."""
    if isinstance(source, RemoteModel):
        place = f"{source.url} {source.name}"
        return Facts(
            role=role,
            name=source.name,
            server=urlsplit(source.url).netloc.rpartition("@")[2],
            sha256=hashlib.sha256(place.encode()).hexdigest(),
            recipe={"server": source.url, "model": source.name, "parent_sha256": ""},
        )
    read = base.record if isinstance(base, Checkpoint) else source.record
    sources = read.data.get("sources", [])
    return Facts(
        role=role,
        name=f"{role}-{source.sha256[:8]}",
        sha256=source.sha256,
        n_parameters=count_parameters(source.model),
        tokens_seen=read.tokens_seen,
        n_conversations=source.record.data.get("conversations_trained", 0),
        n_sources=len(sources),
        genre_shares=genre_shares(sources),
        recipe={
            "stage": source.record.stage,
            "steps": source.record.steps,
            "finished": source.record.finished,
            "parent_sha256": source.record.parent_sha256,
            "data": source.record.data,
            "config": source.record.config,
        },
    )


def genre_shares(sources: list[dict[str, Any]]) -> dict[str, float]:
    """Each genre's share of the tokens of a corpus, largest first."""
    tokens: Counter[str] = Counter()
    for source in sources:
        tokens[source["genre"]] += source["n_tokens"]
    return {genre: n / tokens.total() for genre, n in tokens.most_common() if n}
