"""Write a question as people type it on a phone or for a search engine, without changing what it asks.

What is done to the template (shortened words, two letters swapped) never touches a slot, so that no fact is misspelt;
what is done to the filled question (case, accents, punctuation, a greeting, small words left out) may touch all of it.
"""

import random
import re
import unicodedata
from enum import StrEnum

SHORT = {
    "que": "q",
    "você": "vc",
    "vocês": "vcs",
    "porque": "pq",
    "também": "tb",
    "quando": "qdo",
    "quanto": "qto",
    "quantos": "qtos",
    "quantas": "qtas",
    "quem": "qm",
    "para": "pra",
    "está": "tá",
    "hoje": "hj",
    "mesmo": "msm",
    "depois": "dps",
    "beleza": "blz",
    "obrigado": "obg",
}
GREETINGS = (
    "Oi! {}",
    "Olá! {}",
    "Bom dia! {}",
    "Boa tarde. {}",
    "Boa noite! {}",
    "Oi, tudo bem? {}",
    "Ei, {}",
    "Por favor, {}",
    "Uma dúvida: {}",
    "Pergunta: {}",
    "Me ajuda? {}",
    "oi, {}",
    "opa, {}",
    "e aí, {}",
)
THANKS = ("{}, por favor{}", "{}, por gentileza{}", "{}, pfv{}")
AFTER = ("{} Obrigado!", "{} Obrigada.", "{} Valeu!")
POLITE = re.compile(
    r"\b(?:oi|olá|bom dia|boa tarde|boa noite|por favor|obrigad[oa]|pfv|gentileza)\b", re.I
)
# What a question typed as for a search engine does without; not where it is a letter, a symbol or part of a number.
LEFT_OUT = re.compile(
    r"(?<![\w\"“'-])(?:o|a|os|as|é|são|foi|do|da|dos|das|de|no|na|em|que|qual|quais|me|se|você|sabe|diga|pode|dizer) ",
)
QUOTED = re.compile(r"[\"“”'‘’«»]")
OPEN_END = re.compile(r"(?:[_…:=→]|\.\.\.)\W*$")
FEWEST_WORDS = 3  # of a question in telegraph style
SWAP_FROM = 7  # letters of the shortest word that gets a typo


class Noise(StrEnum):
    ALL = "all"
    LIGHT = "light"  # accents and spelling are what is asked: they stay
    NONE = "none"


def without_accents(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text)
    return "".join(c for c in plain if not unicodedata.combining(c))


def lower_first(text: str) -> str:
    """A sentence as it goes on after a comma; a word all in capitals stays."""
    return text[0].lower() + text[1:] if text[1:2].islower() or text[1:2] == " " else text


def spoil_template(template: str, rng: random.Random) -> str:
    """Shorten the words that people shorten, or swap two letters of one long word; slots stay."""
    parts = re.split(r"(\{\w+\})", template)
    if rng.random() < 0.6:
        return "".join(part if part.startswith("{") else shorten(part) for part in parts)
    long_words = [
        (i, match)
        for i, part in enumerate(parts)
        if not part.startswith("{")
        for match in re.finditer(r"\b[a-zà-ú]+\b", part)
        if len(match[0]) >= SWAP_FROM
    ]
    if not long_words:
        return template
    place, match = rng.choice(long_words)
    at = rng.randrange(match.start() + 2, match.end() - 2)
    part = parts[place]
    parts[place] = part[:at] + part[at + 1] + part[at] + part[at + 2 :]
    return "".join(parts)


def shorten(text: str) -> str:
    return re.sub(r"[a-zà-ú]+", lambda match: SHORT.get(match[0], match[0]), text)


def with_courtesy(question: str, rng: random.Random) -> str:
    """A greeting before it, or "por favor" after it, unless it is courteous or open already."""
    if POLITE.search(question):
        return question
    if rng.random() < 0.6 or OPEN_END.search(question):
        frame = rng.choice(GREETINGS)
        joins = frame.endswith((", {}", ": {}")) and question[:1].isalpha()
        return frame.format(lower_first(question) if joins else question)
    end = question[-1] if question[-1] in "?.!" else ""
    body = question[: len(question) - len(end)]
    if end == "?":
        return rng.choice(THANKS).format(body, end)
    return rng.choice(AFTER).format(question) if end else f"{body}, por favor"


def in_telegrams(question: str, rng: random.Random) -> str:
    """About half of the small words left out, as for a search engine; none where few would stay or words are quoted."""
    if QUOTED.search(question):
        return question
    short = lower_first(question)
    short = LEFT_OUT.sub(lambda word: word[0] if rng.random() < 0.5 else "", short)
    return short if len(re.findall(r"\w+", short)) >= FEWEST_WORDS else question


def spoil_question(question: str, level: Noise, rng: random.Random) -> str:
    """A filled question in phone style: one to three of case, accents, punctuation, courtesy."""
    if rng.random() < 0.4:
        question = with_courtesy(question, rng)
    if rng.random() < 0.6:
        question = question.lower()
    if level == Noise.ALL and rng.random() < 0.5:
        question = without_accents(question)
    match rng.randrange(5):
        case 0 | 1 if not question.endswith(("...", "…", "_")):
            question = question.rstrip("?.! ") or question
        case 2 if question.endswith("?"):
            question += rng.choice(("?", "??", "!"))
        case 3 if question.endswith("?"):
            question = question[:-1] + " ?"
    return question
