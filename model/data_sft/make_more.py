"""Write the larger set that training reads: what is committed here, the banks in all their wordings, the tables filled.

A bank (`banks/*.json`) holds items with many wordings `q` of one question and its right answers `a`. Where there are
more than MAX_SAME answers, people differ: each wording then comes with several of them. A question that comes too close
to one of the evaluation set is left out.
"""

import argparse
import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from model.data_sft import make_capitals, make_sums
from model.data_sft.core_rows import Written, favour_core
from model.data_sft.held_out import Evaluation, NewFacts, without_known_templates
from model.data_sft.tables import Group, conversations, read_groups, share_out

Row = dict[str, Any]
HERE = Path(__file__).parent
EVALUATION = HERE.parent / "data_eval"
MAX_SAME = 3  # answers of an item that has one truth
N_SPREAD = 4  # answers for each wording of an item on which people differ
EACH = 5200  # conversations that a category gets from its tables
# Of EACH: more where there are many facts, less where few wordings say it all.
SHARE = {
    "words": 2.4,
    "capitals": 2.4,
    "brazil": 2.2,
    "science": 2.0,
    "sums": 1.8,
    "definitions": 1.4,
    "families": 1.2,
    "form": 1.2,
    "firmness": 0.5,
    "greetings": 0.5,
    "lecture": 0.5,
    "stories": 0.5,
}


def row(turns: Iterable[str], item: Row, author: str = "templated") -> Row:
    roles = ("user", "assistant")
    return {
        "messages": [
            {"role": roles[i % 2], "content": turn.strip()} for i, turn in enumerate(turns)
        ],
        "category": item["c"],
        "source": item["source"],
        "author": author,
    }


def bank_rows(item: Row, rng: random.Random) -> Iterator[Row]:
    """An item in all its wordings."""
    if "turns" in item:
        yield from talk_rows(item, rng)
        return
    n_answers = N_SPREAD if len(item["a"]) > MAX_SAME else 1
    for wording in dict.fromkeys(item["q"]):
        for answer in rng.sample(item["a"], min(n_answers, len(item["a"]))):
            yield row((wording, answer), item)


def talk_rows(item: Row, rng: random.Random) -> Iterator[Row]:
    """A conversation of several turns, as often as its longest turn has wordings.

    The first answer of a `wrong-…` kind is a planted mistake: it is read but not learned.
    """
    for i in range(max(len(turn) for turn in item["turns"])):
        turns = [
            turn[i % len(turn)] if j == 0 else rng.choice(turn)
            for j, turn in enumerate(item["turns"])
        ]
        made = row(turns, item)
        if item.get("kind", "").startswith("wrong"):
            made["messages"][1]["weight"] = 0
        yield made


def read_lines(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def held_rows() -> Iterator[Row]:
    """What was written by hand or by a bank, in all its wordings."""
    rng = random.Random(0)
    for path in sorted(HERE.glob("*.jsonl")):
        yield from read_lines(path)
    for path in sorted((HERE / "banks").glob("*.json")):
        for item in json.loads(path.read_text(encoding="utf-8")):
            yield from bank_rows(item, rng)


def table_rows(groups: Sequence[Group], each: int, seed: int) -> Iterator[Row]:
    """About `each` conversations of every category, shared out among its groups."""
    new_words = Evaluation(EVALUATION, "new_words")
    by_category: dict[str, list[Group]] = {}
    for group in groups:
        first = without_known_templates(group, new_words)
        if first:
            kept = replace(group, turns=(first, *group.turns[1:]))
            by_category.setdefault(group.category, []).append(kept)
    for category, members in sorted(by_category.items()):
        total = round(each * SHARE.get(category, 1))
        counts = share_out([g.size for g in members], total, [g.capacity for g in members])
        for group, n in zip(members, counts, strict=True):
            item = {"c": category, "source": group.source}
            for turns in conversations(group, n, str(seed)):
                made = row(turns, item)
                if group.has_planted_mistake:
                    made["messages"][1]["weight"] = 0
                yield made


def written_texts(rows: Iterable[Row]) -> dict[str, Written]:
    texts: dict[str, list[str]] = {}
    for r in rows:
        text = " ".join(message["content"] for message in r["messages"])
        texts.setdefault(r["category"], []).append(text)
    return {category: Written(members) for category, members in texts.items()}


def without_held_out(rows: Iterable[Row]) -> tuple[list[Row], int]:
    """Each conversation once, none too close to the evaluation set; and how many were."""
    kept = {json.dumps(r["messages"], ensure_ascii=False): r for r in rows}
    questions: dict[str, set[str]] = {}
    for r in kept.values():
        questions.setdefault(r["category"], set()).add(r["messages"][0]["content"])
    evaluation = Evaluation(EVALUATION)
    new_facts = NewFacts(EVALUATION, questions)
    is_close = {q: evaluation.holds(q) for asked in questions.values() for q in asked}
    free = []
    for r in kept.values():
        texts = [message["content"] for message in r["messages"]]
        pairs = list(pairwise(texts))
        if is_close[texts[0]] or any(new_facts.tells(r["category"], *pair) for pair in pairs):
            continue
        free.append(r)
    return free, len(kept) - len(free)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--facts", type=Path, help="folder of the tables of facts")
    parser.add_argument("--out", type=Path, default=Path("runs/sft"))
    parser.add_argument("--each", type=int, default=EACH, help="rows a category gets from tables")
    parser.add_argument("--times", type=int, default=0, help="draws of the first capitals and sums")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rows = list(held_rows())
    for seed in range(args.times):
        rng = random.Random(seed)
        rows += make_capitals.build_rows(args.facts, rng) if args.facts else []
        rows += make_sums.build_rows(rng)
    groups = list(favour_core(read_groups(), written_texts(held_rows())))
    rows += table_rows(groups, args.each, args.seed)
    free, n_out = without_held_out(rows)
    by_category: dict[str, list[Row]] = {}
    for r in free:
        by_category.setdefault(r["category"], []).append(r)
    args.out.mkdir(parents=True, exist_ok=True)
    for category, members in sorted(by_category.items()):
        lines = [json.dumps(r, ensure_ascii=False) + "\n" for r in members]
        (args.out / f"{category}.jsonl").write_text("".join(lines), encoding="utf-8")
    print(f"{len(free)} conversations, {n_out} too close to the evaluation left out")
    print(", ".join(f"{category} {len(rs)}" for category, rs in sorted(by_category.items())))


if __name__ == "__main__":
    main()
