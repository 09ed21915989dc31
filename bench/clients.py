"""Programs that others wrote, on our API: `python -m bench.clients --bin .venv-clients/bin`.

`llm` (its OpenAI-compatible models) continues a text, talks to the tuned one and streams; `lm-eval` (`local-completions`)
scores a small task of our own by log-likelihood, and must find what our own inspection finds. They live in an environment
of their own: `python3 -m venv .venv-clients && .venv-clients/bin/pip install llm 'lm-eval[api]' transformers`.
"""

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path

from bench.class_burst import server
from bench.engine import PAIR
from model.checkpoint import load_checkpoint
from model.inspect import score_tokens

QUESTIONS = (  # a beginning, how it could go on, and which of these is right
    ("A capital do Brasil é", (" Brasília", " banana", " dezessete"), 0),
    ("Dois mais dois são", (" azul", " quatro", " ontem"), 1),
    ("O gato subiu no", (" telhado", " telefonar", " porque"), 0),
    ("Bom dia, como", (" pedra", " Portugal", " vai"), 2),
)
TASK = """
task: dois_treinos_small
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{beginning}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: right
target_delimiter: ""
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""
MODELS = """
- model_id: dt-base
  model_name: base
  api_base: {url}
  completion: true
- model_id: dt-tuned
  model_name: tuned
  api_base: {url}
"""


def run(command: list[str], **environment: str) -> str:
    done = subprocess.run(  # noqa: S603
        command, env=os.environ | environment, text=True, capture_output=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{command[0]} failed:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def with_llm(program: Path, url: str, folder: Path) -> None:
    """Whole and streamed, raw and chat."""
    (folder / "extra-openai-models.yaml").write_text(MODELS.format(url=url))
    for model, prompt in (("dt-base", "O rei de Roma"), ("dt-tuned", "Quem é a mãe de Anitta?")):
        how = ["-m", model, "-o", "temperature", "0", "-o", "max_tokens", "20", "--key", "none"]
        streamed, whole = (
            run([str(program), prompt, *how, *flags], LLM_USER_PATH=str(folder)).strip()
            for flags in ([], ["--no-stream"])
        )
        assert streamed, "llm printed nothing"
        assert streamed == whole, (streamed, whole)
        print(f"llm -m {model}: {streamed!r}")


def with_lm_eval(program: Path, url: str, folder: Path) -> None:
    """Each choice's log-likelihood, as lm-eval asks for it and as we compute it."""
    rows = [{"beginning": b, "choices": c, "right": r} for b, c, r in QUESTIONS]
    data = folder / "task.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "dois_treinos_small.yaml").write_text(TASK.format(data=data))
    arguments = {
        "model": "base",
        "base_url": f"{url}/completions",
        "tokenizer": str(PAIR / "base"),
        "tokenizer_backend": "huggingface",
        "num_concurrent": "4",
    }
    command = [str(program), "run", "--model", "local-completions"]
    command += ["--model_args", ",".join(f"{k}={v}" for k, v in arguments.items())]
    command += ["--tasks", "dois_treinos_small", "--include_path", str(folder)]
    command += ["--output_path", str(folder / "out"), "--log_samples"]
    run(command, HF_HOME=str(folder / "hf"), HF_HUB_OFFLINE="1", OPENAI_API_KEY="none")
    results = json.loads(next((folder / "out").rglob("results_*.json")).read_text())
    accuracy = results["results"]["dois_treinos_small"]["acc,none"]
    samples = next((folder / "out").rglob("samples_*.jsonl")).read_text().splitlines()
    base = load_checkpoint(PAIR / "base")
    furthest = 0.0
    for line in samples:
        sample = json.loads(line)
        beginning, choices = sample["doc"]["beginning"], sample["doc"]["choices"]
        for choice, response in zip(choices, sample["resps"], strict=True):
            said = float(response[0][0])
            n_given = len(base.tokenizer.encode(beginning))
            scores = score_tokens(base, base.tokenizer.encode(beginning + choice))
            ours = sum(s.logp or 0.0 for s in scores[n_given:])
            furthest = max(furthest, abs(said - ours))
    assert furthest < 1e-2, furthest
    print(
        f"lm-eval local-completions: acc {accuracy:.2f} of {len(samples)} questions; log-likelihoods "
        f"at most {furthest:.1e} nats from our own"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.clients", description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=Path, default=Path(".venv-clients/bin"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with server(folder, max_exchanges=8) as address:
            with_llm(args.bin / "llm", f"{address}/v1", folder)
            with_lm_eval(args.bin / "lm_eval", f"{address}/v1", folder)


if __name__ == "__main__":
    main()
