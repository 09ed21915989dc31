"""Write the larger set that training reads: what is committed here, the banks in all their wordings, the tables filled.

A bank (`banks/*.json`) holds items with many wordings `q` of one question and its right answers `a`. Where there are
more than MAX_SAME answers, people differ: each wording then comes with several of them. A question that comes too close
to one of the evaluation set is left out. With `--focus`: the facts that everybody asks about, and each wording also as
people type it.
"""

import argparse
import json
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from model.data_sft import make_capitals, make_sums
from model.data_sft.core_rows import Written, favour_core, only_core, only_famous
from model.data_sft.held_out import Evaluation, NewFacts, without_known_templates
from model.data_sft.noise import Noise, in_telegrams, spoil_question, with_courtesy
from model.data_sft.tables import Group, conversations, read_groups, share_out
from model.errors import BadInput

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
# With --focus: fewer facts, each in more wordings, and what was written by hand or by a bank twice.
FOCUS_EACH = 3000
FOCUS_SHARE = {
    "capitals": 4.5,
    "sums": 9,
    "families": 1.6,
    "words": 1.6,
    "brazil": 1.4,
    "science": 1.4,
    "form": 1.4,
    "ai_terms": 0.6,
    "identity": 0.8,
    "unknown": 1.2,
    "quick": 0.4,
    "firmness": 1.6,
    "greetings": 0.4,
    "lecture": 0.4,
    "stories": 0.3,
}
FOCUS_TIMES = 2  # of a written conversation or a bank's wording: as it is, and as typed
SKILLS = {"form"}  # categories that teach a skill, which needs many rows, not facts
ONLY_FAMOUS = {"sums"}  # categories of which the rows of most fame are enough
DRILL = 0.2  # of their share is left to the groups that drill what hardly anybody asks
DRILLS = re.compile(
    r"_vf$|_de_três|sequência|triplo|entre$|sílabas|soletrar|primeira_letra|última_letra"
    r"|passado|futuro|gerúndio|particípio|rimas_|contrários_"
    r"|aumentativos|diminutivo_de|coletivo|maior|menor|conta_|tabuada_|é_par|por_extenso|em_algarismos"
    r"|capital_false|country_currency|region_count|relatives_not_known|relatives_of|começa_com|element_number"
    r"|number_element|_false$|_no$"
)


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


def table_rows(
    groups: Sequence[Group], each: int, shares: Mapping[str, float], seed: int
) -> Iterator[Row]:
    """About `each` conversations of every category times its share, shared out among its groups."""
    new_words = Evaluation(EVALUATION, "new_words")
    by_category: dict[str, list[Group]] = {}
    for group in groups:
        first = without_known_templates(group, new_words)
        if first:
            kept = replace(group, turns=(first, *group.turns[1:]))
            by_category.setdefault(group.category, []).append(kept)
    for category, members in sorted(by_category.items()):
        total = round(each * shares.get(category, 1))
        counts = share_out([g.size for g in members], total, [g.capacity for g in members])
        for group, n in zip(members, counts, strict=True):
            item = {"c": category, "source": group.source}
            for turns in conversations(group, n, str(seed)):
                made = row(turns, item)
                if group.has_planted_mistake:
                    made["messages"][1]["weight"] = 0
                yield made


def focused(groups: Sequence[Group], written: Mapping[str, Written]) -> list[Group]:
    """The groups cut down to the facts that everybody asks about, drills held short."""
    facts = [g for g in groups if g.category not in SKILLS | ONLY_FAMOUS]
    skills = [g for g in groups if g.category in SKILLS]
    cut = [g for g in groups if g.category in ONLY_FAMOUS]
    return [
        replace(g, weight=g.weight * DRILL) if DRILLS.search(g.name) else g
        for g in [
            *only_core(facts, written),
            *favour_core(skills, written),
            *map(only_famous, cut),
        ]
    ]


def typed_copies(rows: Iterable[Row], times: int, rng: random.Random) -> Iterator[Row]:
    """Each row `times` times: as it is, then as people type it.

    Not where the form is what is asked: a courtesy would be part of what is to be written in capitals.
    """
    for r in rows:
        yield r
        if r["category"] in SKILLS:
            continue
        level = Noise.LIGHT if r["category"] == "words" else Noise.ALL
        first, *rest = r["messages"]
        for _ in range(times - 1):
            yield {
                **r,
                "messages": [{**first, "content": as_typed(first["content"], level, rng)}, *rest],
            }


def as_typed(question: str, level: Noise, rng: random.Random) -> str:
    """The same question with a courtesy, spoiled, or as for a search engine."""
    match rng.randrange(4):
        case 0:
            return with_courtesy(question, rng)
        case 1:
            return in_telegrams(question, rng)
        case _:
            return spoil_question(question, level, rng)


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
    parser.add_argument("--each", type=int, help="rows a category gets from tables")
    parser.add_argument(
        "--focus", action="store_true", help="the facts that everybody asks about, more often"
    )
    parser.add_argument("--times", type=int, default=0, help="draws of the first capitals and sums")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if not list((HERE / "banks").glob("*.json")):
        raise BadInput(f"There are no banks in {HERE}: run this in the repository.")
    rows = list(held_rows())
    written = written_texts(rows)
    for seed in range(args.times):
        rng = random.Random(seed)
        rows += make_capitals.build_rows(args.facts, rng) if args.facts else []
        rows += make_sums.build_rows(rng)
    if args.focus:
        rows, _ = without_held_out(rows)  # or a longer copy would pass as another question
        rows = list(typed_copies(rows, FOCUS_TIMES, random.Random(args.seed)))
        groups, each, shares = focused(read_groups(), written), FOCUS_EACH, FOCUS_SHARE
    else:
        groups, each, shares = list(favour_core(read_groups(), written)), EACH, SHARE
    rows += table_rows(groups, args.each or each, shares, args.seed)
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
