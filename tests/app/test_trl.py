"""TRL's own trainers take the exported files, and learn from them, with the embedded fine-tuned checkpoint."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from classroom import PROMPT, Classroom
from sqlalchemy.orm import Session

from app import PROJECT
from app.db import Database
from app.services.exports import Format, export
from app.tables import Choice, Role, Side

TUNED = PROJECT / "model" / "checkpoints" / "tuned"
PROGRAM = Path(__file__).resolve().parents[1] / "train_with_trl.py"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Six students before one round: five for the fine-tuned, one against; all give thumbs and a choice."""
    folder = tmp_path_factory.mktemp("exported")

    def work(session: Session) -> dict[str, Path]:
        room = Classroom(session)
        round_ = room.round(
            texts={Role.BASE: " e outro número, disse ele", Role.TUNED: "Trinta e sete."}
        )
        for i, person in enumerate(room.people(6)):
            exposure = room.show(round_, person, Side.LEFT)
            room.thumb(exposure, Side.LEFT, 1 if i else -1)
            room.thumb(exposure, Side.RIGHT, -1 if i else 1)
            room.prefer(exposure, Choice.LEFT if i else Choice.RIGHT)
        found = {}
        for format_ in (Format.KTO, Format.DPO):
            file = export(session, room.room, format_)
            found[str(format_)] = folder / file.name
            found[str(format_)].write_text(file.text, encoding="utf-8")
        return found

    db = Database(f"sqlite:///{folder / 'test.db'}")
    db.upgrade()
    try:
        return db.write_now(work)
    finally:
        db.close()


def train(method: str, file: Path, out: Path) -> dict[str, Any]:
    environment = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "0"}
    run = subprocess.run(
        [sys.executable, str(PROGRAM), method, str(file), str(TUNED), str(out)],
        env={**os.environ, **environment, "HF_HOME": str(out)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    found: dict[str, Any] = json.loads((out / "result.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("method", ["kto", "dpo"])
def test_trl_learns_from_an_exported_file(
    method: str, files: dict[str, Path], tmp_path: Path
) -> None:
    found = train(method, files[method], tmp_path)
    assert found["n_rows"] == 6
    assert len(found["losses"]) == 2
    assert all(math.isfinite(loss) and loss > 0 for loss in found["losses"])
    assert found["n_changed"] > 70  # of the 8 layers' weights
    # what it trains on is the envelope in which the checkpoint was asked
    expected = "e outro número, disse ele" if method == "dpo" else "Trinta e sete."
    assert found["text"].startswith(f"<|usuario|>{PROMPT}<|assistente|>")
    assert expected in found["text"]
    assert found["text"].endswith("<|fim|>")
