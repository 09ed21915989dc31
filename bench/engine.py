"""Our engine beside others on the same weights: `python -m bench.engine --concurrent 1 8 32 64 128`.

Each of n sequences reads 24 prompt tokens of its own and writes 48, drawn at temperature 0.8 from the best 40; the end
token does not end them. Every peer lives in a process of its own and they take turns, so that a slow minute of the
machine hits all; a row's ratio is the median over the rounds, with the least and the greatest. On Linux, a measurement
in which other programs used more than a twentieth of our cores is made again; `taskset --cpu-list 0,1` before the
command measures a machine of two cores on a larger one.

The peers need an environment of their own (llama.cpp is compiled, about ten minutes):
`python3 -m venv .venv-bench && .venv-bench/bin/pip install -c constraints.txt -e . transformers accelerate
'llama-cpp-python[server]'`, then `.venv-bench/bin/python -m bench.engine`.
"""

import argparse
import ctypes
import functools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from model.device import CORES

N_PROMPT, N_NEW = 24, 48
TOP_K, TEMPERATURE = 40, 0.8
PAIR = Path(__file__).resolve().parent.parent / "model" / "checkpoints"
REFERENCE = "llama.cpp"
STAT = Path("/proc/stat")
TICK_S = 0.01  # of the kernel's clock of processor time
MAX_OTHERS, MAX_TRIES = (
    0.05,
    120,
)  # share of our cores that others may use; tries to find them quiet
Run = Callable[[int], int]  # writes n sequences, returns the number of tokens written


def prompts(n: int) -> list[list[int]]:
    """Token ids, another prompt for each sequence, so that none can be shared."""
    return [[1 + (97 * i + 31 * j) % 8000 for j in range(N_PROMPT)] for i in range(n)]


def ours(_gguf: Path, names: tuple[str, ...] = ("base",)) -> Run:
    from model.checkpoint import load_checkpoint
    from model.config import SamplingParams
    from model.engine import Engine, Request, generate

    engine = Engine({n: load_checkpoint(PAIR / n) for n in names}, max_rows=128)

    def run(n: int) -> int:
        requests = [
            Request(
                checkpoint=name,
                prompt_ids=ids,
                params=SamplingParams(
                    temperature=TEMPERATURE,
                    top_k=TOP_K,
                    max_tokens=N_NEW,
                    seed=seed,
                    ignores_end=True,
                ),
            )
            for name in names
            for seed, ids in enumerate(prompts(n))
        ]
        return sum(len(events) for events in generate(engine, requests))

    return run


def our_pair(gguf: Path) -> Run:
    """n sequences of each of two checkpoints, as when n visitors ask both."""
    return ours(gguf, ("base", "tuned"))


def torchs_fastest() -> Any:
    """bfloat16 where the processor multiplies it, else float32: there bfloat16 is imitated, and slow."""
    import torch

    return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32


def transformers_generate(_gguf: Path) -> Run:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(PAIR / "base", dtype=torchs_fastest()).eval()

    def run(n: int) -> int:
        ids = torch.tensor(prompts(n))
        with torch.inference_mode():
            out = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=True,
                top_k=TOP_K,
                temperature=TEMPERATURE,
                max_new_tokens=N_NEW,
                min_new_tokens=N_NEW,
                pad_token_id=0,
            )
        return int(out.numel() - ids.numel())

    return run


def transformers_continuous(_gguf: Path) -> Run:
    from transformers import AutoModelForCausalLM, GenerationConfig

    model = AutoModelForCausalLM.from_pretrained(
        PAIR / "base", dtype=torchs_fastest(), attn_implementation="sdpa"
    ).eval()
    config = GenerationConfig(
        do_sample=True,
        top_k=TOP_K,
        temperature=TEMPERATURE,
        max_new_tokens=N_NEW,
        eos_token_id=-1,
        pad_token_id=0,
    )

    def run(n: int) -> int:
        found = model.generate_batch(prompts(n), generation_config=config, progress_bar=False)
        n_tokens = sum(len(o.generated_tokens) for o in found.values())
        if n_tokens != n * N_NEW:
            raise RuntimeError(f"wrote {n_tokens} tokens of {n * N_NEW}")
        return n_tokens

    return run


@functools.cache  # C keeps only the address
def _silent(c: ModuleType) -> object:
    return c.llama_log_callback(lambda *_: None)


def llama_cpp(gguf: Path) -> Run:
    """The low-level batch interface: one decode for all sequences, both cores, float16 weights."""
    import llama_cpp.llama_cpp as c

    c.llama_log_set(_silent(c), ctypes.c_void_p(0))
    c.llama_backend_init()
    model = c.llama_model_load_from_file(str(gguf).encode(), c.llama_model_default_params())
    if not model:
        raise RuntimeError("llama.cpp does not open our GGUF")

    def run(n: int) -> int:
        params = c.llama_context_default_params()
        params.n_ctx = n * (N_PROMPT + N_NEW + 8)
        params.n_batch, params.n_seq_max = max(512, n * N_PROMPT), n
        params.n_threads = params.n_threads_batch = CORES
        context = c.llama_init_from_model(model, params)
        batch = c.llama_batch_init(n * N_PROMPT, 0, 1)
        samplers = []
        for seed in range(n):
            chain = c.llama_sampler_chain_init(c.llama_sampler_chain_default_params())
            c.llama_sampler_chain_add(chain, c.llama_sampler_init_top_k(TOP_K))
            c.llama_sampler_chain_add(chain, c.llama_sampler_init_temp(TEMPERATURE))
            c.llama_sampler_chain_add(chain, c.llama_sampler_init_dist(seed))
            samplers.append(chain)

        def put(token: int, position: int, sequence: int, is_last: bool) -> int:
            i = batch.n_tokens
            batch.token[i], batch.pos[i] = token, position
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
            batch.logits[i] = is_last
            batch.n_tokens = i + 1
            return i

        last = [0] * n
        for sequence, ids in enumerate(prompts(n)):
            for position, token in enumerate(ids):
                last[sequence] = put(token, position, sequence, position == N_PROMPT - 1)
        for step in range(N_NEW):
            if c.llama_decode(context, batch):
                raise RuntimeError("llama.cpp could not decode")
            tokens = [c.llama_sampler_sample(samplers[i], context, last[i]) for i in range(n)]
            batch.n_tokens = 0
            for i, token in enumerate(tokens):
                last[i] = put(token, N_PROMPT + step, i, True)
        for chain in samplers:
            c.llama_sampler_free(chain)
        c.llama_batch_free(batch)
        c.llama_free(context)
        return n * N_NEW

    return run


def product(_gguf: Path) -> Run:
    """One large matrix product, again and again: "tokens" of 2 x 17.3M operations each."""
    import torch

    width, n_parameters = 2048, 17_300_000
    a = torch.randn(width, width, dtype=torchs_fastest())
    b = torch.randn(width, width, dtype=torchs_fastest())

    def run(_n: int) -> int:
        for _ in range(20):
            a @ b
        return 20 * width**3 // n_parameters

    return run


PEERS: dict[str, Callable[[Path], Run]] = {
    "ours": ours,
    "ours, base and tuned": our_pair,
    REFERENCE: llama_cpp,
    "transformers generate": transformers_generate,
    "transformers continuous": transformers_continuous,
    "one large product": product,
}


def serve(name: str, gguf: Path) -> None:
    """A peer's process: reads a number of sequences, answers tokens a second; an error ends it."""
    try:
        run = PEERS[name](gguf)
        for line in sys.stdin:
            start = time.perf_counter()
            n_tokens = run(int(line))
            print(f"= {n_tokens / (time.perf_counter() - start)}", flush=True)
    except Exception as error:  # whatever a peer raises is its result
        print(f"! {type(error).__name__}: {' '.join(str(error).split())[:160]}", flush=True)


class Peer:
    def __init__(self, name: str, gguf: Path) -> None:
        self.name, self.error = name, ""
        command = [sys.executable, "-m", "bench.engine", "--serve", name, "--gguf", str(gguf)]
        self._process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def measure(self, n: int) -> float | None:
        """Tokens a second of n sequences at a time on a quiet machine; none where the peer cannot."""
        for _ in range(MAX_TRIES):
            started, all_before, own_before = time.monotonic(), busy_s(), self._busy_s()
            rate = self._measure(n)
            others_s = (busy_s() - all_before) - (self._busy_s() - own_before)
            room_s = (time.monotonic() - started) * CORES
            if rate is None or others_s < MAX_OTHERS * room_s + 2 * TICK_S:
                return rate
            time.sleep(1)
        raise SystemExit("The machine is too busy to measure anything.")

    def _busy_s(self) -> float:
        """Processor time that the peer has used so far."""
        if not STAT.exists():
            return 0.0
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * TICK_S

    def _measure(self, n: int) -> float | None:
        assert self._process.stdin
        assert self._process.stdout
        if self.error:
            return None
        self._process.stdin.write(f"{n}\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("= "):
                return float(line[2:])
            if line.startswith("! "):
                self.error = line[2:].strip()
                return None
        self.error = "its process ended"
        return None

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def busy_s() -> float:
    """Processor time that all programs have used so far of the cores that we may use."""
    if not STAT.exists():
        return 0.0
    mine = {f"cpu{i}" for i in os.sched_getaffinity(0)}
    ticks = 0
    for line in STAT.read_text().splitlines():
        name, *fields = line.split()
        if name in mine:
            user, nice, system, _idle, _wait, irq, soft, steal = map(int, fields[:8])
            ticks += user + nice + system + irq + soft + steal
    return ticks * TICK_S


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def report(n: int, rates: dict[str, list[float]]) -> None:
    peak = statistics.median(rates["one large product"])
    for name, own in rates.items():
        if not own or name == "one large product":
            continue
        n_rows = n * (2 if name == "ours, base and tuned" else 1)
        rate = statistics.median(own)
        ratio = [a / b for a, b in zip(own, rates[REFERENCE], strict=True)]
        print(
            f"| {n} | {name} | {rate:,.0f} | {1000 * n_rows / rate:.2f} | {spread(ratio)} | {rate / peak:.1%} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.engine", description=__doc__.splitlines()[0])
    parser.add_argument("--concurrent", type=int, nargs="+", default=[1, 8, 32, 64, 128])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--serve", choices=list(PEERS), help=argparse.SUPPRESS)
    parser.add_argument("--gguf", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve, args.gguf)
        return
    from model.checkpoint import load_checkpoint
    from model.gguf import export_gguf

    with tempfile.TemporaryDirectory() as folder:
        gguf = Path(folder) / "base.gguf"
        export_gguf(load_checkpoint(PAIR / "base"), gguf)
        names = [n for n in PEERS if n in {*args.peers, REFERENCE, "one large product"}]
        peers = [Peer(name, gguf) for name in names]
        print("| sequences | engine | tokens/s | ms a step | ratio to llama.cpp | of one product |")
        print("|---|---|---|---|---|---|", flush=True)
        try:
            for n in args.concurrent:
                rates: dict[str, list[float]] = {name: [] for name in names}
                for number in range(args.rounds + 1):
                    for peer in peers:
                        rate = peer.measure(n)
                        if rate and number:  # the first round warms up
                            rates[peer.name].append(rate)
                report(n, rates)
        finally:
            for peer in peers:
                peer.close()
        for peer in peers:
            if peer.error:
                print(f"{peer.name}: {peer.error}")


if __name__ == "__main__":
    main()
