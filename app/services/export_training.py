"""Votes as rows that TRL trains on, in its conversational formats.

Only consented votes on finished answers in blind rounds, cast before the reveal. Where a row comes from stands under
`provenance`, in one column, because TRL gives names such as `prompt_ids` a meaning of its own.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from app.services.ballots import Verdict
from app.services.export_rows import Seen
from app.tables import Finish, Generation, Role, VoteEvent, VoteKind

Row = dict[str, Any]


def kto_rows(seen: Sequence[Seen], roles: Collection[Role] = (Role.TUNED,)) -> Iterator[Row]:
    """One row for each thumb, and for "both bad" one `false` for each answer without a thumb of its own.

    Of the fine-tuned answers only, unless asked: text of the base teaches the fine-tuned little.
    """
    for item in filter(_is_usable, seen):
        votes = _early(item)
        thumbs = {item.role_on(v.target): v for v in votes if v.kind == VoteKind.THUMB}
        bad = next((v for v in votes if item.verdict(v) == Verdict.BOTH_BAD), None)
        for role in (role for role in Role if role in roles):
            generation = item.generation(role)
            vote = thumbs.get(role) or bad
            if vote is not None and _is_finished(generation):
                yield {
                    "prompt": _said("user", item.prompt.text),
                    "completion": _said("assistant", generation.text),
                    "label": vote.value == 1,
                    "provenance": _source(item, vote) | {"answer": _answer(generation)},
                }


def dpo_rows(seen: Sequence[Seen]) -> Iterator[Row]:
    """One row for each student who preferred one answer, or gave them opposite thumbs; ties and equal texts are no pairs."""
    for item in filter(_is_usable, seen):
        votes = _early(item)
        found = _decision(item, votes)
        answers = {role: item.generation(role) for role in Role}
        if found is None or not all(map(_is_finished, answers.values())):
            continue
        if len({generation.text.strip() for generation in answers.values()}) == 1:
            continue
        vote, better = found
        worse = Role.BASE if better == Role.TUNED else Role.TUNED
        yield {
            "prompt": _said("user", item.prompt.text),
            "chosen": _said("assistant", answers[better].text),
            "rejected": _said("assistant", answers[worse].text),
            "provenance": _source(item, vote)
            | {"chosen": _answer(answers[better]), "rejected": _answer(answers[worse])},
        }


def _decision(item: Seen, votes: Sequence[VoteEvent]) -> tuple[VoteEvent, Role] | None:
    """The vote that decides, and for whom. What was said of the pair goes before what the thumbs say."""
    for vote in votes:
        if vote.kind == VoteKind.PREFERENCE:
            verdict = item.verdict(vote)
            decided = verdict in (Verdict.TUNED, Verdict.BASE)
            return (vote, Role(str(verdict))) if decided else None
    thumbs = {item.role_on(v.target): v for v in votes if v.kind == VoteKind.THUMB}
    if len(thumbs) == 2 and sum(vote.value or 0 for vote in thumbs.values()) == 0:
        return next((vote, role) for role, vote in thumbs.items() if vote.value == 1)
    return None


def _is_usable(item: Seen) -> bool:
    return item.consents and item.round is not None and item.round.is_blind


def _early(item: Seen) -> list[VoteEvent]:
    return [vote for vote in item.votes if vote.vote_round == 1 and not vote.is_after_reveal]


def _is_finished(generation: Generation) -> bool:
    ended = generation.finish_reason in (Finish.STOP, Finish.LENGTH)
    return ended and bool(generation.text.strip())


def _said(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


def _source(item: Seen, vote: VoteEvent) -> Row:
    return {
        "vote_event_id": vote.id,
        "vote": vote.kind,
        "exposure_id": item.exposure.id,
        "round": item.round.number if item.round else None,
        "participant": item.participant,
        "tuned_side": str(item.side_of(Role.TUNED)),
        "is_blind": True,
        "is_after_reveal": vote.is_after_reveal,
    }


def _answer(generation: Generation) -> Row:
    return {
        "generation_id": generation.id,
        "checkpoint_role": generation.checkpoint.role,
        "checkpoint_sha256": generation.checkpoint.sha256,
        "envelope": generation.envelope,
        "finish_reason": generation.finish_reason,
        "seed": generation.seed,
        "prompt_ids": generation.prompt_ids,
        "completion_ids": generation.completion_ids or [],
    }
