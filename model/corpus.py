"""Prepare a folder of texts for pretraining: `python -m model.corpus --source DIR --out runs/corpus`.

Reads every `.txt` and `.txt.xz` (UTF-8, a paragraph a line, documents separated by a line `<|doc|>`), drops repeated
documents, keeps one document in a hundred for validation, leaving out those of which training has a near copy, learns a
tokenizer and writes token files. A `SOURCES.tsv` beside the texts may say how often each source is read in a pass
(`suggested_weight`), and its genre, origin and licence; `--weights` takes a table of our own (`name`, `weight`), where 0
leaves a source out.
"""

import argparse
import csv
import hashlib
import json
import lzma
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from model.errors import BadInput
from model.tokenizer import DOCUMENT, Tokenizer

VALIDATION_SHARE = 100  # one document in this many, chosen by a hash of its text
BATCH_DOCUMENTS = 512
SPAN = 8  # words in a row that make a passage
MAX_COPIED = 0.2  # share of a validation document's passages that may stand in the training text


@dataclass(slots=True, kw_only=True)
class Source:
    """One file of texts and what was read from it."""

    name: str
    path: Path
    genre: str = "text"
    origin: str = ""
    licence: str = ""
    weight: float = 1.0  # times each document is read in one pass
    n_documents: int = 0
    n_bytes: int = 0
    n_tokens: int = 0  # in the training file, so with the weight
    sha256: str = ""
    valid_bytes: int = 0
    n_near_copies: int = 0  # documents left out of validation: training has most of each
    valid_texts: list[str] = field(default_factory=list)


def find_sources(folder: Path) -> list[Source]:
    """The texts of a folder, with what `SOURCES.tsv` says of them."""
    paths = sorted(p for p in folder.glob("*") if p.name.endswith((".txt", ".txt.xz")))
    if not paths:
        raise BadInput(f"There is no .txt and no .txt.xz file in {folder}.")
    table = folder / "SOURCES.tsv"
    rows = {}
    if table.exists():
        with table.open(encoding="utf-8", newline="") as file:
            rows = {row["name"]: row for row in csv.DictReader(file, delimiter="\t")}
    sources = []
    for path in paths:
        name = path.name.split(".txt")[0]
        row = rows.get(name, {})
        sources.append(
            Source(
                name=name,
                path=path,
                genre=row.get("genre", "text"),
                origin=row.get("origin", ""),
                licence=row.get("licence", ""),
                weight=float(row.get("suggested_weight", 1)),
            )
        )
    return sources


def read_weights(table: Path) -> dict[str, float]:
    """Times each source is read in one pass, by name."""
    with table.open(encoding="utf-8", newline="") as file:
        try:
            return {
                row["name"]: float(row["weight"]) for row in csv.DictReader(file, delimiter="\t")
            }
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(f"{table} needs the columns name and weight, a number.") from error


def weigh(sources: list[Source], weights: dict[str, float]) -> list[Source]:
    """The sources with the weights of a table, those of weight 0 left out."""
    unknown = weights.keys() - {source.name for source in sources}
    if unknown:
        raise BadInput(f"There is no source named {', '.join(sorted(unknown))}.")
    for source in sources:
        source.weight = weights.get(source.name, source.weight)
    return [source for source in sources if source.weight]


def documents(path: Path) -> Iterator[str]:
    """The documents of one file, without blank lines at either end."""
    opener = lzma.open if path.suffix == ".xz" else open
    lines: list[str] = []
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            for line in file:
                if line.rstrip("\n") == DOCUMENT:
                    yield "".join(lines).strip()
                    lines = []
                else:
                    lines.append(line)
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8 text.") from error
    yield "".join(lines).strip()


def text_hash(text: str) -> int:
    """A stable 64-bit number for a text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def n_readings(text: str, weight: float) -> int:
    """How often a document is read in one pass: `weight` on average, decided by the text's own hash."""
    whole, part = divmod(weight, 1.0)
    chance = text_hash(f"weight {text}") / 2**64
    return int(whole) + (chance < part)


def read_sources(sources: list[Source]) -> Iterator[tuple[Source, str]]:
    """Every training document once, repeated ones dropped; validation documents go to their source."""
    seen: set[int] = set()
    for source in tqdm(sources, desc="reading", unit="file"):
        digest = hashlib.sha256()
        for text in documents(source.path):
            key = text_hash(text)
            if not text or key in seen:
                continue
            seen.add(key)
            digest.update(text.encode())
            source.n_documents += 1
            source.n_bytes += len(text.encode())
            if key % VALIDATION_SHARE == 0:
                source.valid_texts.append(text)
            else:
                yield source, text
        source.sha256 = digest.hexdigest()


def passages(text: str) -> list[int]:
    """A number for each stretch of SPAN words; for a shorter text, one for all of it."""
    words = text.lower().split()
    return [hash(tuple(words[i : i + SPAN])) for i in range(max(1, len(words) - SPAN + 1))]


def drop_near_copies(sources: list[Source], pairs: list[tuple[Source, str]]) -> None:
    """Leave out of validation what is told nearly alike in the training text: it would flatter what was learned by heart."""
    held_out = {text: passages(text) for source in sources for text in source.valid_texts}
    wanted = {passage for found in held_out.values() for passage in found}
    trained: set[int] = set()
    for _, text in tqdm(pairs, desc="near copies", unit="doc"):
        trained |= wanted.intersection(passages(text))
    for source in sources:
        kept = [
            text
            for text in source.valid_texts
            if sum(p in trained for p in held_out[text]) <= MAX_COPIED * len(held_out[text])
        ]
        source.n_near_copies = len(source.valid_texts) - len(kept)
        source.valid_texts = kept
        source.valid_bytes = sum(len(text.encode()) for text in kept)


def train_tokenizer(
    pairs: list[tuple[Source, str]], vocab_size: int, sample_bytes: int
) -> Tokenizer:
    """A tokenizer learned from an even sample of the training documents, weighted like the corpus."""
    total = sum(len(text) * source.weight for source, text in pairs)
    share = min(1.0, sample_bytes / total)
    sample = [
        text for source, text in pairs for _ in range(n_readings(text, source.weight * share))
    ]
    return Tokenizer.train(tqdm(sample, desc="tokenizer", unit="doc"), vocab_size)


def write_tokens(
    pairs: list[tuple[Source, str]], tokenizer: Tokenizer, out: Path, seed: int
) -> int:
    """All readings of all documents, shuffled, as uint16 ids with the document token before each."""
    document_id = tokenizer.token_id(DOCUMENT)
    readings = [
        i for i, (source, text) in enumerate(pairs) for _ in range(n_readings(text, source.weight))
    ]
    order = np.random.default_rng(seed).permutation(len(readings))
    n_tokens = 0
    with out.open("wb") as file:
        for start in tqdm(range(0, len(order), BATCH_DOCUMENTS), desc="tokens", unit="batch"):
            chosen = [pairs[readings[i]] for i in order[start : start + BATCH_DOCUMENTS]]
            for (source, _), ids in zip(
                chosen, tokenizer.encode_batch([text for _, text in chosen]), strict=True
            ):
                np.asarray([document_id, *ids], dtype=np.uint16).tofile(file)
                source.n_tokens += len(ids) + 1
                n_tokens += len(ids) + 1
    return n_tokens


def write_validation(sources: list[Source], tokenizer: Tokenizer, out: Path) -> None:
    """One token file for the loop, and one text per genre for bits per byte."""
    by_genre: dict[str, list[str]] = defaultdict(list)
    for source in sources:
        by_genre[source.genre] += source.valid_texts
    (out / "valid").mkdir(exist_ok=True)
    texts = []
    for genre, members in sorted(by_genre.items()):
        members.sort(key=text_hash)
        (out / "valid" / f"{genre}.txt").write_text(
            f"\n{DOCUMENT}\n".join(members), encoding="utf-8"
        )
        texts += members
    texts.sort(key=text_hash)
    document_id = tokenizer.token_id(DOCUMENT)
    ids = [i for text in tokenizer.encode_batch(texts) for i in (document_id, *text)]
    np.asarray(ids, dtype=np.uint16).tofile(out / "valid.bin")


def prepare(
    folders: list[Path],
    out: Path,
    *,
    vocab_size: int,
    tokenizer_path: Path | None,
    weights: Path | None,
    sample_bytes: int,
    seed: int,
) -> None:
    """Everything that pretraining reads, from folders of texts."""
    out.mkdir(parents=True, exist_ok=True)
    sources = [source for folder in folders for source in find_sources(folder)]
    if weights:
        sources = weigh(sources, read_weights(weights))
    pairs = list(read_sources(sources))
    drop_near_copies(sources, pairs)
    if tokenizer_path:
        tokenizer = Tokenizer.load(tokenizer_path)
    else:
        tokenizer = train_tokenizer(pairs, vocab_size, sample_bytes)
    tokenizer.save(out / "tokenizer.json")
    n_tokens = write_tokens(pairs, tokenizer, out / "train.bin", seed)
    write_validation(sources, tokenizer, out)
    rows = [asdict(source) for source in sources]
    for row in rows:
        del row["path"], row["valid_texts"]
    summary = {
        "train_tokens": n_tokens,
        "train_sha256": hashlib.sha256((out / "train.bin").read_bytes()).hexdigest(),
        "seed": seed,
        "sources": rows,
    }
    (out / "corpus.json").write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    print(f"{len(pairs)} documents, {n_tokens} tokens a pass, written to {out}")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="model.corpus", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--source",
        type=Path,
        required=True,
        action="append",
        help="folder of .txt or .txt.xz files; may be given again",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/corpus"))
    parser.add_argument("--vocab-size", type=int, default=8192)
    parser.add_argument(
        "--tokenizer", type=Path, help="use this tokenizer.json instead of learning one"
    )
    parser.add_argument("--weights", type=Path, help="a table of how often to read each source")
    parser.add_argument(
        "--sample-bytes", type=int, default=40_000_000, help="text to learn merges from"
    )
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    prepare(
        args.source,
        args.out,
        vocab_size=args.vocab_size,
        tokenizer_path=args.tokenizer,
        weights=args.weights,
        sample_bytes=args.sample_bytes,
        seed=args.seed,
    )


if __name__ == "__main__":
    main()
