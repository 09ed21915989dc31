"""What must stay unknown to training: the evaluation set's questions, their templates, and its new facts."""

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice, product
from pathlib import Path
from typing import Any

from model.data_sft.noise import without_accents
from model.data_sft.tables import SLOT, Group, Slots, fill, slot_name

TOO_CLOSE = 0.8  # shared words over all words
MAX_VALUES = 24  # combinations of list values tried for one template and row
COMMON = 0.02  # a word in more of a category's questions than this names no fact
STEM = 5  # letters that an inflected word keeps
GENERAL = (
    "brazil",
    "capitals",
    "definitions",
    "families",
    "science",
)  # a fact of one may be asked in another

Row = dict[str, Any]


def words_of(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", without_accents(text.casefold())))


def read_items(folder: Path, name: str = "new_*") -> list[Row]:
    return [
        json.loads(line)
        for path in sorted(folder.glob(f"{name}.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]


class Evaluation:
    """The questions that must stay unknown to training."""

    def __init__(self, folder: Path, name: str = "new_*") -> None:
        self.prompts = sorted(
            {words_of(item["p"]) for item in read_items(folder, name)}, key=sorted
        )
        counts = Counter(word for prompt in self.prompts for word in prompt)
        # A close question lacks at most a fifth of a prompt's words, so it holds one of any
        # fifth of them and one more: the rarest find it fastest.
        self._by_word: dict[str, list[frozenset[str]]] = defaultdict(list)
        for prompt in self.prompts:
            rarest = sorted(prompt, key=lambda word: (counts[word], word))
            for word in rarest[: math.floor((1 - TOO_CLOSE) * len(prompt)) + 1]:
                self._by_word[word].append(prompt)

    def holds(self, question: str) -> bool:
        asked = words_of(question)
        return any(
            len(asked & p) >= TOO_CLOSE * len(asked | p)
            for word in asked
            for p in self._by_word.get(word, ())
        )

    def holds_template(self, template: str, rows: Iterable[Slots]) -> bool:
        """Whether some row turns the template into one of the questions.

        A template that is nothing but slots has no wording of its own: its questions are looked at one by one.
        """
        fixed = words_of(SLOT.sub(" ", template))
        if not fixed or not any(
            len(fixed - p) * TOO_CLOSE <= (1 - TOO_CLOSE) * len(p) for p in self.prompts
        ):
            return False
        return any(self.holds(q) for row in rows for q in questions_of(template, row))


def questions_of(template: str, row: Slots) -> Iterator[str]:
    names = sorted({slot_name(match[1], row) for match in SLOT.finditer(template)})
    choices = [row[n] if isinstance(row[n], list) else [row[n]] for n in names]
    for values in islice(product(*(dict.fromkeys(c) for c in choices)), MAX_VALUES):
        yield fill(template, dict(zip(names, map(str, values), strict=True)))


def without_known_templates(group: Group, evaluation: Evaluation) -> tuple[str, ...]:
    """The first-turn templates that do not make a question of the evaluation set."""
    return tuple(t for t in group.turns[0] if not evaluation.holds_template(t, group.rows))


def stems_of(text: str) -> set[str]:
    return {word[:STEM] for word in words_of(text) if len(word) >= 4}


class NewFacts:
    """Finds conversations that tell a fact of `new_facts.jsonl`, asked either way round."""

    def __init__(self, folder: Path, questions: Mapping[str, Iterable[str]]) -> None:
        common = {c: common_stems(asked) for c, asked in questions.items()}
        self._by_stem: dict[tuple[str, str], list[re.Pattern[str]]] = defaultdict(list)
        for item in read_items(folder, "new_facts"):
            pattern = re.compile(item["re"], re.IGNORECASE)
            for category in GENERAL if item["c"] in GENERAL else (item["c"],):
                for stem in stems_of(item["p"]) - common.get(item["c"], set()):
                    self._by_stem[category, stem].append(pattern)

    def tells(self, category: str, question: str, answer: str) -> bool:
        return any(
            pattern.search(told)
            for asked, told in ((question, answer), (answer, question))
            for stem in stems_of(asked)
            for pattern in self._by_stem.get((category, stem), ())
        )


def common_stems(questions: Iterable[str]) -> set[str]:
    asked = list(questions)
    counts = Counter(stem for question in asked for stem in stems_of(question))
    return {stem for stem, n in counts.items() if n > COMMON * len(asked)}
