"""What the pages and the database say of the models that are asked here."""

import hashlib
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

from app.tables import Role
from model.checkpoint import Checkpoint
from model.remote import RemoteModel
from model.transformer import count_parameters

Source = Checkpoint | RemoteModel
Reading = tuple[list[dict[str, Any]], int]  # the sources of a corpus, and how many tokens were read


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One model. What another server does not tell is 0 or empty."""

    role: Role
    name: str
    server: str = ""  # host of the server that runs it; empty for our own engine
    sha256: str
    n_parameters: int = 0
    tokens_seen: int = 0  # in pretraining
    tunings: list[int] = field(default_factory=list)  # conversations that each brought, in order
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
    readings = readings_of(asdict(read))
    return Facts(
        role=role,
        name=f"{role}-{source.sha256[:8]}",
        sha256=source.sha256,
        n_parameters=count_parameters(source.model),
        tokens_seen=read.tokens_seen,
        tunings=tunings_of(asdict(source.record)),
        n_sources=len({s["name"] for sources, _ in readings for s in sources}),
        genre_shares=genre_shares(readings),
        recipe={
            "stage": source.record.stage,
            "steps": source.record.steps,
            "finished": source.record.finished,
            "parent_sha256": source.record.parent_sha256,
            "data": source.record.data,
            "config": source.record.config,
        },
    )


def tunings_of(record: dict[str, Any]) -> list[int]:
    """How many conversations each tuning of a checkpoint brought: none where it asked what one before had asked."""
    before = tunings_of(record["parent"]) if record.get("parent") else []
    n = record["data"].get("conversations_trained", 0)
    if not n:
        return before
    return [*before, 0 if was_asked_before(record) else n]


def was_asked_before(record: dict[str, Any]) -> bool:
    """Whether an earlier tuning had the same files of questions."""
    files, parent = record["data"].get("files"), record.get("parent")
    while files and parent:
        if parent["data"].get("files") == files:
            return True
        parent = parent.get("parent")
    return False


def readings_of(record: dict[str, Any]) -> list[Reading]:
    """The corpora that a checkpoint read, one after the other, with the tokens it read of each."""
    parent = record.get("parent") or {}
    n_before = parent.get("tokens_seen", 0)
    before = readings_of(parent) if parent else []
    sources = record["data"].get("sources", [])
    return [*before, (sources, record["tokens_seen"] - n_before)] if sources else before


def genre_shares(readings: list[Reading]) -> dict[str, float]:
    """Each genre's share of the tokens read, largest first."""
    tokens: defaultdict[str, float] = defaultdict(float)
    for sources, n_read in readings:
        n_pass = sum(source["n_tokens"] for source in sources)
        for source in sources:
            tokens[source["genre"]] += n_read * source["n_tokens"] / n_pass
    n_all = sum(tokens.values())
    ordered = sorted(tokens.items(), key=lambda item: -item[1])
    return {genre: n / n_all for genre, n in ordered if n}
