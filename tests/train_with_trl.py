"""A program of its own, because TRL and what it imports warn: two steps of its trainer on an exported file."""

import json
import sys
from pathlib import Path

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer


def main(method: str, file: str, checkpoint: str, out: str) -> None:
    """Leave in result.json the loss of each step, and how many weights are no longer what they were."""
    torch.set_num_threads(1)
    rows = Dataset.from_json(file, cache_dir=f"{out}/cache")
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    config, trainer_class = {"kto": (KTOConfig, KTOTrainer), "dpo": (DPOConfig, DPOTrainer)}[method]
    trainer = trainer_class(
        model=model,
        args=config(
            output_dir=out,
            max_steps=2,
            per_device_train_batch_size=2,
            learning_rate=1e-4,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            bf16=False,
            seed=0,
        ),
        train_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained(checkpoint),
    )
    trainer.train()
    changed = sum(
        bool((p.detach() != before[name]).any()) for name, p in trainer.model.named_parameters()
    )
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    first = trainer.train_dataset[0]
    ids = first["prompt_ids"] + first.get("completion_ids", first.get("chosen_ids", []))
    result = {
        "losses": losses,
        "n_changed": changed,
        "n_rows": len(trainer.train_dataset),
        "text": trainer.processing_class.decode(ids),
    }
    Path(out, "result.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
