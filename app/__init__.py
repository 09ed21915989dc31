"""The classroom app: pages, answers, votes. It meets the models in `services/generation.py`."""

from pathlib import Path

__version__ = "0.1.0"

_HERE = Path(__file__).resolve().parent
PROJECT = _HERE.parent


def resource(name: str) -> Path:
    """A folder of ours: beside `app/` in a checkout, inside it in an installed wheel."""
    inside = _HERE / "_data" / name
    return inside if inside.is_dir() else PROJECT / name
