"""Write the larger set that training reads: what is committed here, the banks in all their wordings, the tables many times over.

A bank (`banks/*.json`) holds items with many wordings `q` of one question and its right answers `a`. Where there are
more than MAX_SAME answers, people differ: each wording then comes with several of them. A question that comes too close
to one of the evaluation set is left out.
"""

import argparse
import json
import random
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from model.data_sft import make_capitals, make_sums

Row = dict[str, Any]
HERE = Path(__file__).parent
EVALUATION = HERE.parent / "data_eval"
MAX_SAME = 3  # answers of an item that has one truth
N_SPREAD = 4  # answers for each wording of an item on which people differ
N_TIMES = 8  # draws of wordings from the tables
TOO_CLOSE = 0.8  # shared words over all words


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


def table_rows(facts: Path, n_times: int) -> Iterator[Row]:
    for seed in range(n_times):
        rng = random.Random(seed)
        yield from make_capitals.build_rows(facts, rng)
        yield from make_sums.build_rows(rng)


def read_lines(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def words_of(text: str) -> frozenset[str]:
    plain = unicodedata.normalize("NFKD", text.casefold())
    return frozenset(re.findall(r"\w+", "".join(c for c in plain if not unicodedata.combining(c))))


class Evaluation:
    """The questions that must stay unknown to training."""

    def __init__(self, folder: Path) -> None:
        self.prompts = {
            words_of(item["p"]) for path in folder.glob("*.jsonl") for item in read_lines(path)
        }

    def holds(self, question: str) -> bool:
        asked = words_of(question)
        return any(len(asked & p) >= TOO_CLOSE * len(asked | p) for p in self.prompts if p)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--facts", type=Path, required=True, help="folder of the tables of facts")
    parser.add_argument("--out", type=Path, default=Path("runs/sft"))
    parser.add_argument("--times", type=int, default=N_TIMES, help="draws from the tables")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    rows = [r for path in sorted(HERE.glob("*.jsonl")) for r in read_lines(path)]
    for path in sorted((HERE / "banks").glob("*.json")):
        for item in json.loads(path.read_text(encoding="utf-8")):
            rows += bank_rows(item, rng)
    rows += table_rows(args.facts, args.times)
    evaluation = Evaluation(EVALUATION)
    kept = {json.dumps(r["messages"], ensure_ascii=False): r for r in rows}
    is_too_close = {
        q: evaluation.holds(q) for q in {r["messages"][0]["content"] for r in kept.values()}
    }
    args.out.mkdir(parents=True, exist_ok=True)
    by_category: dict[str, list[Row]] = {}
    for r in kept.values():
        if not is_too_close[r["messages"][0]["content"]]:
            by_category.setdefault(r["category"], []).append(r)
    for category, members in sorted(by_category.items()):
        lines = [json.dumps(r, ensure_ascii=False) + "\n" for r in members]
        (args.out / f"{category}.jsonl").write_text("".join(lines), encoding="utf-8")
    counts = Counter({category: len(members) for category, members in by_category.items()})
    print(
        f"{counts.total()} conversations, {sum(is_too_close.values())} questions too close to the evaluation left out"
    )
    print(", ".join(f"{category} {n}" for category, n in sorted(counts.items())))


if __name__ == "__main__":
    main()
