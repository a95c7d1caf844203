"""Writes a checkpoint as the package's model folder, in Hugging Face layout."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from training.architecture import to_transformers
from training.network import Network, Size
from training.tokenizer import build_tokenizer, save_processor

MAX_BYTES = 20_000_000
MODEL_FOLDER = Path("thoth_watch/builtin/model")


def export(checkpoints: Sequence[Path], target: Path) -> int:
    """Write the mean of the checkpoints in float16 to the target folder; return its size in bytes.

    Raises ValueError if the folder would be larger than the package allows or keys are missing.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = target.with_name(f".{target.name}.new")
    shutil.rmtree(staging, ignore_errors=True)
    tokenizer = build_tokenizer()
    network = Network(Size(len(tokenizer)))
    network.load_state_dict(_mean(checkpoints))
    save_processor(tokenizer, staging)
    to_transformers(network, tokenizer).to(torch.float16).save_pretrained(staging)
    for path in staging.iterdir():
        path.chmod(0o644)  # safetensors writes 0600
    size_bytes = sum(path.stat().st_size for path in staging.iterdir())
    if size_bytes > MAX_BYTES:
        raise ValueError(f"{target}: {size_bytes} bytes; at most {MAX_BYTES} fit the package")
    _, info = WhisperForConditionalGeneration.from_pretrained(staging, output_loading_info=True)
    wrong = {name: keys for name, keys in info.items() if keys}
    if wrong:
        raise ValueError(f"{target}: does not load cleanly: {wrong}")
    WhisperProcessor.from_pretrained(staging)
    replaced = target.with_name(f".{target.name}.old")
    shutil.rmtree(replaced, ignore_errors=True)
    if target.exists():
        target.rename(replaced)
    staging.rename(target)
    shutil.rmtree(replaced, ignore_errors=True)
    return size_bytes


def _mean(checkpoints: Sequence[Path]) -> dict[str, Tensor]:
    loaded = (torch.load(path, map_location="cpu", weights_only=False) for path in checkpoints)
    means = [state["average"] for state in loaded]
    return {name: sum(mean[name] for mean in means) / len(means) for name in means[0]}


def main() -> None:
    """Export the mean of the checkpoints that training kept."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    means = sorted(Path("training/out/means").glob("*.pt"))
    parser.add_argument("--checkpoints", type=Path, nargs="+", default=means)
    parser.add_argument("--target", type=Path, default=MODEL_FOLDER)
    args = parser.parse_args()
    if not args.checkpoints:
        parser.error("training/out/means is empty: run python -m training.train first")
    print(f"{args.target}: {export(args.checkpoints, args.target)} bytes")


if __name__ == "__main__":
    main()
