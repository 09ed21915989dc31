"""What no other test sees: the catalogue is complete, vendored files are what they say, sizes stay small."""

import hashlib
import json
import random
import re
import subprocess
from collections import Counter
from io import StringIO
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import read_po

from model.chat import read_conversations

ROOT = Path(__file__).resolve().parents[1]
MAX_LINES = {".py": 400, ".html": 80, ".css": 150, ".js": 300}
NO_LIMIT = {"model/transformer.py", "app/tables.py", "app/migrations", "tests", "model/data_sft"}


def tracked(*patterns: str) -> list[Path]:
    output = subprocess.check_output(["git", "ls-files", *patterns], cwd=ROOT, text=True)  # noqa: S607
    return [ROOT / line for line in output.splitlines() if (ROOT / line).exists()]


def test_the_english_catalogue_is_complete() -> None:
    mapping, options = parse_mapping_cfg(  # type: ignore[no-untyped-call]
        StringIO((ROOT / "app/locale/babel.cfg").read_text())
    )
    found = extract_from_dir(
        ROOT,
        mapping,
        options,
        keywords={"_": None, "N_": None, "ngettext": (1, 2), "gettext": None},
    )
    wanted = {m[0] if isinstance(m, tuple) else m for _, _, m, _, _ in found if m}
    with (ROOT / "app/locale/en/LC_MESSAGES/messages.po").open("rb") as file:
        catalogue = read_po(file, locale="en")
    translated = {
        (m.id[0] if isinstance(m.id, tuple) else m.id): m for m in catalogue if m.id and m.string
    }
    assert len(wanted) > 40
    assert wanted - set(translated) == set()
    assert not [m.id for m in catalogue if m.fuzzy]
    for message_id, message in translated.items():
        texts = message.string if isinstance(message.string, (tuple, list)) else [message.string]
        assert all(holes(str(text)) == holes(str(message_id)) for text in texts), message_id


def holes(text: str) -> Counter[str]:
    """The places of a message that values are put into."""
    return Counter(re.findall(r"%\(\w+\)s", text))


def test_vendored_files_are_what_they_say() -> None:
    listed = json.loads((ROOT / "static/vendor/VENDOR.json").read_text())
    for entry in listed:
        data = (ROOT / "static" / entry["path"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == entry["sha256"], entry["path"]
    present = {p.name for p in (ROOT / "static/vendor").glob("*.js")}
    present |= {p.name for p in (ROOT / "static/fonts").glob("*.woff2")}
    assert present == {Path(entry["path"]).name for entry in listed}


def test_files_stay_small_enough_to_read() -> None:
    for path in tracked("*.py", "*.html", "*.css", "*.js"):
        name = str(path.relative_to(ROOT))
        if name.startswith("static/vendor") or any(name.startswith(n) for n in NO_LIMIT):
            continue
        n_lines = len(path.read_text().splitlines())
        assert n_lines <= MAX_LINES[path.suffix], f"{name} has {n_lines} lines"


def test_the_readme_names_every_module() -> None:
    readme = (ROOT / "README.md").read_text()
    outside = {"migrations", "data_sft"}  # described by their own pages
    modules = [p for p in tracked("app/*.py", "model/*.py") if not outside & set(p.parts)]
    missing = [p.name for p in modules if p.name not in readme and p.name != "__init__.py"]
    assert not missing


def test_every_setting_is_in_the_readme() -> None:
    from app.config import Settings

    readme = (ROOT / "README.md").read_text()
    assert [n for n in Settings.model_fields if f"`{n.upper()}`" not in readme] == []


def test_every_pair_that_can_be_fetched_is_in_the_readme() -> None:
    from model.hub import PRESETS

    readme = (ROOT / "README.md").read_text()
    for name, preset in PRESETS.items():
        row = next(line for line in readme.splitlines() if line.startswith(f"| `{name}` |"))
        for value in (
            f"{preset.base} `{preset.base_revision[:7]}`",
            f"{preset.tuned} `{preset.tuned_revision[:7]}`",
            preset.licence,
            f"{preset.download_mb:,} MB",
            f"{preset.memory_mb:,} MB",
        ):
            assert value in row


DATA_SFT = sorted((ROOT / "model/data_sft").glob("*.jsonl"))


@pytest.mark.parametrize("path", DATA_SFT, ids=lambda p: p.stem)
def test_the_question_set_is_sound(path: Path) -> None:
    assert read_conversations([path])
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        assert row["category"]
        assert row["source"]
        assert row["author"] in {"written", "templated"}
        assert len(row["messages"][-1]["content"].split()) <= 60
    assert len({json.dumps(row["messages"]) for row in rows}) == len(rows)


def test_the_question_set_is_large_enough() -> None:
    rows = [json.loads(line) for p in DATA_SFT for line in p.read_text().splitlines()]
    assert len(rows) >= 1500
    card = (ROOT / "model/data_sft/README.md").read_text()
    for category, n in Counter(row["category"] for row in rows).items():
        assert f"| {category} | {n} |" in card.replace(",", ""), (category, n)


BANKS = sorted((ROOT / "model/data_sft/banks").glob("*.json"))


@pytest.mark.parametrize("path", BANKS, ids=lambda p: p.stem)
def test_the_banks_are_sound(path: Path) -> None:
    """Many wordings of each question, short right answers, conversations that take turns."""
    from model.data_sft.make_more import bank_rows

    for item in json.loads(path.read_text(encoding="utf-8")):
        assert item["c"]
        assert item["source"]
        rows = list(bank_rows(item, random.Random(0)))
        assert len({row["messages"][0]["content"] for row in rows}) >= (
            6 if "turns" in item else 12
        )
        for row in rows:
            roles = [message["role"] for message in row["messages"]]
            assert roles == ["user", "assistant"] * (len(roles) // 2)
            assert all(message["content"] for message in row["messages"])
            assert len(row["messages"][-1]["content"].split()) <= 30


def test_the_model_card_names_every_source_and_the_weights_are_those_recorded() -> None:
    card = (ROOT / "docs/model-card.md").read_text()
    base, tuned = (
        json.loads((ROOT / f"model/checkpoints/{name}/training.json").read_text())
        for name in ("base", "tuned")
    )
    for record in (base, base["parent"]):
        for source in record.get("data", {}).get("sources", []):
            assert f"| {source['name']} |" in card
    assert tuned["parent_sha256"] == base["weights_sha256"]
    for name, record in (("base", base), ("tuned", tuned)):
        weights = ROOT / f"model/checkpoints/{name}/model.safetensors"
        assert hashlib.sha256(weights.read_bytes()).hexdigest() == record["weights_sha256"]
        assert record["commit"]
        assert not record["commit"].endswith("+")


def test_the_snapshots_are_whole_small_and_in_order() -> None:
    from model.checkpoint import load_checkpoint

    folders = sorted((ROOT / "model/checkpoints/snapshots").iterdir())
    found = [load_checkpoint(folder) for folder in folders]
    ends = {"pretrain": "base", "finetune": "tuned"}
    for stage, n in (("pretrain", 4), ("finetune", 2)):
        end = load_checkpoint(ROOT / "model/checkpoints" / ends[stage])
        tokens = [c.record.tokens_seen for c in [*found, end] if c.record.stage == stage]
        assert len(tokens) == n + 1
        assert tokens == sorted(set(tokens))
    files = [path for folder in folders for path in folder.iterdir()]
    assert sum(path.stat().st_size for path in files) < 100e6
    table = (ROOT / "docs/training.md").read_text()
    assert all(f"| `{folder.name}` |" in table for folder in folders)
