"""Pairs of other people that a teacher with internet can fetch once, by name, and use offline afterwards."""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx2
from huggingface_hub import get_hf_file_metadata, hf_hub_url, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from model.checkpoint import WEIGHTS, file_sha256
from model.errors import BadInput

FILES = ["config.json", "generation_config.json", "tokenizer*.json", "chat_template.jinja", WEIGHTS]
FETCHED = "fetched.json"  # written last: a folder with it is complete


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A base and a tuned checkpoint of one network. A revision `main` becomes a commit when it is fetched."""

    base: str  # repository
    base_revision: str
    tuned: str
    tuned_revision: str
    n_parameters: int
    download_mb: int  # both together
    memory_mb: (
        int  # while both answer with AVX2: 300 and 6.5 bytes a parameter, as measured with SmolLM2
    )
    licence: str
    languages: str


PRESETS = {
    "smollm2-135m": Preset(
        base="HuggingFaceTB/SmolLM2-135M",
        base_revision="4e53f736cbb20a9a0f56b4c4bf378d9f306ff915",
        tuned="HuggingFaceTB/SmolLM2-135M-Instruct",
        tuned_revision="ee72e5415c002e8fc0566a191a07c0b2b708875a",
        n_parameters=134_515_008,
        download_mb=543,
        memory_mb=2_050,
        licence="Apache 2.0",
        languages="English",
    ),
    "tucano-160m": Preset(
        base="TucanoBR/Tucano-160m",
        base_revision="6579ced6811db85fe386f91237c326ca2431a05b",
        tuned="cnmoro/Tucano-160m-Portuguese-Instruct-v2",
        tuned_revision="main",
        n_parameters=162_417_408,
        download_mb=650,
        memory_mb=2_400,
        licence="Apache 2.0",
        languages="Portuguese",
    ),
    "tucano2-0.5b": Preset(
        base="Polygl0t/Tucano2-qwen-0.5B-Base",
        base_revision="main",
        tuned="Polygl0t/Tucano2-qwen-0.5B-Instruct",
        tuned_revision="main",
        n_parameters=490_799_104,
        download_mb=1_970,
        memory_mb=6_700,
        licence="Apache 2.0",
        languages="Portuguese",
    ),
    "qwen3-0.6b": Preset(
        base="Qwen/Qwen3-0.6B-Base",
        base_revision="da87bfb608c14b7cf20ba1ce41287e8de496c0cd",
        tuned="Qwen/Qwen3-0.6B",
        tuned_revision="c1899de289a04d12100db370d81485cdf75e47ca",
        n_parameters=596_049_920,
        download_mb=2_720,
        memory_mb=8_050,
        licence="Apache 2.0",
        languages="119 languages, Portuguese among them",
    ),
    "tucano-1b1": Preset(
        base="TucanoBR/Tucano-1b1",
        base_revision="main",
        tuned="TucanoBR/Tucano-1b1-Instruct",
        tuned_revision="b9aa92dcda625394465805ec41250e1f68476189",
        n_parameters=1_100_048_384,
        download_mb=4_410,
        memory_mb=14_600,
        licence="Apache 2.0",
        languages="Portuguese",
    ),
    "llama-3.2-1b": Preset(
        base="meta-llama/Llama-3.2-1B",
        base_revision="4e20de362430cd3b72f300e6b0f18e50e7166e08",
        tuned="meta-llama/Llama-3.2-1B-Instruct",
        tuned_revision="9213176726f574b556790deb65791e0c5aa438b6",
        n_parameters=1_235_814_400,
        download_mb=4_960,
        memory_mb=16_400,
        licence="Llama 3.2 Community License, to be accepted on its page; needs HF_TOKEN",
        languages="8 languages, Portuguese among them",
    ),
}


def fetch_pair(name: str, cache: Path) -> tuple[Path, Path]:
    """Folders of a preset's base and tuned checkpoint, fetched where they are not here yet."""
    preset = PRESETS.get(name)
    if preset is None:
        raise BadInput(f"There is no pair called {name}; there are {', '.join(PRESETS)}.")
    return (
        fetch(preset.base, preset.base_revision, cache, preset.download_mb // 2),
        fetch(preset.tuned, preset.tuned_revision, cache, preset.download_mb // 2),
    )


def fetch(repository: str, revision: str, cache: Path, size_mb: int) -> Path:
    """A repository's checkpoint folder, its weights checked against the sum that the hub names.

    Once checked, it is used without a connection, and stays at the commit that the revision was then, which it names
    in `fetched.json`. HF_ENDPOINT may name another hub.
    """
    folder = cache / repository.replace("/", "--")
    if (folder / FETCHED).exists():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    free_mb = shutil.disk_usage(cache).free // 2**20
    if free_mb < size_mb:
        raise BadInput(f"{repository} needs {size_mb} MB of disk; {cache} has {free_mb}.")
    endpoint = os.environ.get("HF_ENDPOINT") or None
    try:
        url = hf_hub_url(repository, WEIGHTS, revision=revision, endpoint=endpoint)
        weights = get_hf_file_metadata(url, endpoint=endpoint)  # no connection shows here
        commit = weights.commit_hash or revision
        snapshot_download(
            repository,
            revision=commit,  # all files of one commit, even where the revision moves meanwhile
            local_dir=folder,
            allow_patterns=FILES,
            endpoint=endpoint,
        )
    except GatedRepoError as error:
        raise BadInput(
            f"{repository} wants its licence accepted on its page first, and a token in HF_TOKEN."
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise BadInput(f"{repository} at {revision} is not on the hub any more.") from error
    except RemoteEntryNotFoundError as error:
        raise BadInput(f"{repository} at {revision} has no {WEIGHTS}.") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, httpx2.HTTPError, OSError) as error:
        raise BadInput(
            f"{repository} is not here yet and could not be fetched: is there a connection? "
            f"What came so far is kept; start again to go on. ({type(error).__name__})"
        ) from error
    found, expected = file_sha256(folder / WEIGHTS), weights.etag
    if expected and len(expected) == hashlib.sha256().digest_size * 2 and found != expected:
        (folder / WEIGHTS).unlink()
        raise BadInput(f"The weights of {repository} arrived damaged; start again to fetch them.")
    record = {
        "repository": repository,
        "revision": revision,
        "commit": commit,
        "fetched": datetime.now(UTC).isoformat(timespec="seconds"),
        "weights_sha256": found,
    }
    (folder / FETCHED).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return folder


def origin(folder: Path) -> str:
    """Where a checkpoint folder came from, as REPOSITORY@COMMIT; empty where it was not fetched."""
    try:
        record = json.loads((folder / FETCHED).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ""
    return f"{record['repository']}@{record['commit']}"
