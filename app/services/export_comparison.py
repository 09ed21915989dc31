"""A class as the JSON of PAIR's LLM Comparator: A is the fine-tuned, B the base, each student a rater.

Format: https://github.com/PAIR-code/llm-comparator#json-data-format
"""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from app.services.ballots import Verdict
from app.services.export_rows import Seen
from app.tables import Role, Room, Side, VoteKind

A, B = Role.TUNED, Role.BASE
BETTER = 1.5  # the format's scores go from 1.5, A is better, to -1.5
SCORES = {
    Verdict.TUNED: (BETTER, "A is better"),
    Verdict.BASE: (-BETTER, "B is better"),
    Verdict.TIE: (0.0, "Tie"),
    Verdict.BOTH_BAD: (0.0, "Both bad"),
}
FIELDS = (
    ("round", "number"),
    ("is_blind", "category"),
    ("n_thumbs", "per_model_number"),
    ("share_up", "per_model_number"),
    ("n_tokens", "per_model_number"),
    ("total_ms", "per_model_number"),
    ("finish_reason", "per_model_category"),
)


def comparison(room: Room, seen: Sequence[Seen]) -> dict[str, Any]:
    """The first votes on every round that was shown to somebody."""
    by_round: dict[int, list[Seen]] = {}
    for item in seen:
        if item.round is not None:
            by_round.setdefault(item.round.number, []).append(item)
    models = {
        role: next((items[0].generation(role).checkpoint.name for items in by_round.values()), role)
        for role in (A, B)
    }
    return {
        "metadata": {
            "source_path": f"dois-treinos, sala {room.code}",
            "custom_fields_schema": [{"name": name, "type": type_} for name, type_ in FIELDS],
        },
        "models": [{"name": str(models[role])} for role in (A, B)],
        "examples": [_example(items) for _, items in sorted(by_round.items())],
    }


def _example(items: Sequence[Seen]) -> dict[str, Any]:
    first = items[0]
    assert first.round is not None
    answers = [first.generation(role) for role in (A, B)]
    ratings = [rating for item in items if (rating := _rating(item))]
    thumbs = {
        role: [
            vote.value == 1
            for item in items
            for vote in item.votes
            if vote.kind == VoteKind.THUMB
            and vote.vote_round == 1
            and item.role_on(vote.target) == role
        ]
        for role in (A, B)
    }
    return {
        "input_text": first.prompt.text,
        "tags": [first.prompt.answer_kind],
        "output_text_a": answers[0].text,
        "output_text_b": answers[1].text,
        "score": round(fmean(rating["score"] for rating in ratings), 3) if ratings else None,
        "individual_rater_scores": ratings,
        "custom_fields": {
            "round": first.round.number,
            "is_blind": "blind" if first.round.is_blind else "open",
            "n_thumbs": [len(thumbs[role]) for role in (A, B)],
            "share_up": [
                round(fmean(thumbs[role]), 3) if thumbs[role] else None for role in (A, B)
            ],
            "n_tokens": [len(g.completion_ids) if g.completion_ids else None for g in answers],
            "total_ms": [g.total_ms for g in answers],
            "finish_reason": [g.finish_reason for g in answers],
        },
    }


def _rating(item: Seen) -> dict[str, Any] | None:
    """One student's choice; flipped where the fine-tuned, A, stood on the right."""
    choice = next(
        (v for v in item.votes if v.kind == VoteKind.PREFERENCE and v.vote_round == 1), None
    )
    if choice is None:
        return None
    score, label = SCORES[Verdict(str(item.verdict(choice)))]
    reasons = {
        item.role_on(v.target): ", ".join(v.reasons or [])
        for v in item.votes
        if v.kind == VoteKind.REASONS and v.vote_round == 1
    }
    said = [f"{name}: {reasons[role]}" for name, role in (("A", A), ("B", B)) if role in reasons]
    return {
        "is_flipped": item.side_of(A) == Side.RIGHT,
        "score": score,
        "rating_label": label,
        "rationale": "; ".join(said),
    }
