"""Fetching a pair, from a small stand-in of the hub on a real socket."""

import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from model import hub
from model.checkpoint import load_checkpoint
from model.errors import BadInput
from model.pair import load_pair

COMMIT = "a" * 40


class Hub(BaseHTTPRequestHandler):
    """Just enough of the hub: a repository's files, and a file with its sum."""

    folders: dict[str, Path]  # of repositories
    etag: str | None = None  # another sum for the weights than the true one
    asked: list[str] = []  # noqa: RUF012

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, *, with_body: bool) -> None:
        self.asked.append(self.path)
        path = self.path.split("?")[0]
        if "gated" in path:
            return self.say(403, b"", {"x-error-code": "GatedRepo"})
        is_list = path.startswith("/api/models/")
        owner, name = path.removeprefix("/api/models/").strip("/").split("/")[:2]
        repository = f"{owner}/{name}"
        folder = self.folders.get(repository)
        if folder is None:
            return self.say(404, b"", {"x-error-code": "RepoNotFound"})
        if is_list:
            return self.list_files(repository, path)
        file = folder / path.rpartition("/")[2]
        if not file.exists():
            return self.say(404, b"", {"x-error-code": "EntryNotFound"})
        data = file.read_bytes()
        etag = hashlib.sha256(data).hexdigest()
        if file.name == "model.safetensors" and self.etag:
            etag = self.etag
        self.say(200, data, {"etag": f'"{etag}"', "x-repo-commit": COMMIT}, with_body=with_body)

    def list_files(self, repository: str, path: str) -> None:
        folder = self.folders[repository]
        names = [p.name for p in folder.iterdir()]
        if "/tree/" in path:
            tree = [
                {"type": "file", "path": n, "size": (folder / n).stat().st_size, "oid": "1"}
                for n in names
            ]
            return self.say(200, json.dumps(tree).encode(), {"x-repo-commit": COMMIT})
        info = {"id": repository, "sha": COMMIT, "siblings": [{"rfilename": n} for n in names]}
        return self.say(200, json.dumps(info).encode())

    def say(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        *,
        with_body: bool = True,
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def server(pair_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    Hub.folders, Hub.etag = {"some/pair": pair_folder / "base"}, None
    Hub.asked.clear()
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=httpd.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{httpd.server_address[1]}"
    monkeypatch.setenv("HF_ENDPOINT", address)
    yield address
    httpd.shutdown()
    httpd.server_close()


def test_a_checkpoint_is_fetched_once_and_then_used_offline(
    server: str, pair_folder: Path, tmp_path: Path
) -> None:
    folder = hub.fetch("some/pair", COMMIT, tmp_path, 1)
    assert load_checkpoint(folder).sha256 == load_checkpoint(pair_folder / "base").sha256
    assert not (folder / "README.md").exists()  # only what is needed
    n_asked = len(Hub.asked)
    assert hub.fetch("some/pair", COMMIT, tmp_path, 1) == folder
    assert len(Hub.asked) == n_asked


def test_a_branch_is_resolved_once_and_the_commit_kept(server: str, tmp_path: Path) -> None:
    folder = hub.fetch("some/pair", "main", tmp_path, 1)
    record = json.loads((folder / "fetched.json").read_text())
    assert (record["revision"], record["commit"]) == ("main", COMMIT)
    assert record["weights_sha256"] == load_checkpoint(folder).sha256
    assert hub.origin(folder) == f"some/pair@{COMMIT}"
    assert Hub.asked[0] == "/some/pair/resolve/main/model.safetensors"
    assert not [
        path for path in Hub.asked[1:] if "main" in path
    ]  # all files of that commit, wherever the branch goes meanwhile
    n_asked = len(Hub.asked)
    assert hub.fetch("some/pair", "main", tmp_path, 1) == folder
    assert len(Hub.asked) == n_asked
    assert hub.origin(Hub.folders["some/pair"]) == ""  # not fetched


def test_damaged_weights_are_not_kept(server: str, tmp_path: Path) -> None:
    Hub.etag = "0" * 64
    with pytest.raises(BadInput, match="damaged"):
        hub.fetch("some/pair", COMMIT, tmp_path, 1)
    Hub.etag = None
    assert (hub.fetch("some/pair", COMMIT, tmp_path, 1) / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("repository", "sentence"), [("some/gated", "licence"), ("some/nothing", "not on the hub")]
)
def test_what_cannot_be_had_is_a_sentence(
    server: str, tmp_path: Path, repository: str, sentence: str
) -> None:
    with pytest.raises(BadInput, match=sentence):
        hub.fetch(repository, COMMIT, tmp_path, 1)


def test_a_repository_without_safetensors_is_said(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hub, "folders", {"some/pair": tmp_path})  # has no file
    with pytest.raises(BadInput, match=r"has no model\.safetensors"):
        hub.fetch("some/pair", COMMIT, tmp_path / "cache", 1)


def test_without_a_connection_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(BadInput, match="is there a connection"):
        hub.fetch("some/pair", COMMIT, tmp_path, 1)


def test_a_full_disk_is_said_before(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="needs 999999999 MB"):
        hub.fetch("some/pair", COMMIT, tmp_path, 999_999_999)


@pytest.mark.parametrize("name", hub.PRESETS)
def test_a_preset_becomes_a_pair(
    server: str, name: str, pair_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = hub.PRESETS[name]
    stand_ins = {preset.base: pair_folder / "base", preset.tuned: pair_folder / "tuned"}
    monkeypatch.setattr(Hub, "folders", stand_ins)
    base, tuned = hub.fetch_pair(name, tmp_path)
    for folder, repository, revision in (
        (base, preset.base, preset.base_revision),
        (tuned, preset.tuned, preset.tuned_revision),
    ):
        assert hub.origin(folder) == f"{repository}@{COMMIT}"
        assert f"/{repository}/resolve/{revision}/model.safetensors" in Hub.asked
    assert load_pair(base, tuned).tuned.chat_template


def test_an_unknown_pair_is_told_which_there_are(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="smollm2-135m"):
        hub.fetch_pair("gpt-5", tmp_path)
