"""The card of a checkpoint: what it is, what it read, what it cannot do. Written from its training record."""

from collections.abc import Iterable
from typing import Any

STAGES = {
    "pretrain": "Base: it only read. It continues a text; it does not answer.",
    "finetune": "Fine-tuned: the base, trained further on questions and answers.",
}


def checkpoint_card(name: str, record: dict[str, Any], n_parameters: int) -> str:
    """A Hugging Face model card in Markdown."""
    data = record["data"]
    lines = [
        "---",
        "language: pt",
        "pipeline_tag: text-generation",
        "library_name: transformers",
        "---",
        f"# Dois Treinos, {name}",
        "",
        STAGES.get(record["stage"], "A checkpoint of unknown origin."),
        "",
        f"- {n_parameters / 1e6:.1f} million parameters, Llama architecture, trained from nothing for a class.",
        f"- {record['steps']} steps, {record['tokens_seen'] / 1e6:.1f} million tokens, "
        f"{record['seconds'] / 60:.0f} minutes on {record['hardware']}, finished {record['finished']}.",
        f"- Code: commit {record['commit'] or 'unknown'}. Weights: SHA-256 `{record['weights_sha256']}`.",
        "- It is a toy: it makes mistakes and invents. Not for advice of any kind.",
        "",
    ]
    if averaged := record["config"].get("averaged"):
        lines += [average_line(averaged), ""]
    if record["parent_sha256"]:
        verb = "Tuned" if record["stage"] == "finetune" else "Read on"
        lines += [f"{verb} from the weights with SHA-256 `{record['parent_sha256']}`.", ""]
    if "files" in data:
        lines += [
            f"{data['conversations_trained']} conversations written for this project "
            f"({data['conversations_held_out']} held out for validation).",
            "",
        ]
    if "sources" in data:
        lines += [*source_table(data["sources"]), ""]
    before = record["parent"]
    if before and "files" in before["data"]:
        lines += [
            f"Before, {before['steps']} steps on {before['data']['conversations_trained']} conversations, "
            f"from the same base (commit {before['commit'] or 'unknown'}).",
            "",
        ]
    elif before:
        lines += [f"Before, {before['tokens_seen'] / 1e6:.1f} million tokens of:", ""]
        lines += [*source_table(before["data"]["sources"]), ""]
    return "\n".join(lines)


def average_line(averaged: dict[str, Any]) -> str:
    """Of which steps the weights are the average, and how much less sure they were made."""
    parts = ", ".join(f"{m['share']:g} of step {m['steps']}" for m in averaged["members"])
    return f"Weights averaged: {parts}; logits divided by {averaged['temperature']:g}."


def source_table(sources: Iterable[dict[str, Any]]) -> list[str]:
    """The sources of a corpus, largest share of a pass first."""
    rows = sorted(sources, key=lambda s: -s["n_tokens"])
    return [
        "| source | genre | licence | MB | million tokens a pass | origin |",
        "|---|---|---|---|---|---|",
        *(
            f"| {s['name']} | {s['genre']} | {s['licence']} | {s['n_bytes'] / 1e6:.1f} "
            f"| {s['n_tokens'] / 1e6:.2f} | {s['origin']} |"
            for s in rows
        ),
    ]
