"""Tests of releasing the memory of mapped weight files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from thoth_watch.infrastructure.whisper.network.memory import MappedFiles

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="madvise is used on Linux only")


def resident_kib(path: Path) -> int:
    """Return the resident size of a mapped file."""
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    for line in lines:
        if line.endswith(str(path)):
            return next(int(part.split()[1]) for part in lines if part.startswith("Rss:"))
    raise AssertionError(f"{path} is not mapped")


def test_released_pages_leave_memory_and_keep_their_content(tmp_path: Path):
    path = tmp_path / "model.safetensors"
    values = torch.arange(2_000_000, dtype=torch.float32)
    save_file({"weight": values, "other": values + 1}, path)
    with safe_open(path, framework="pt") as file:
        weight, other = file.get_tensor("weight"), file.get_tensor("other")
        total = float(other.sum())
        weight.sum()
        before = resident_kib(path)
        files = MappedFiles()

        files.release(weight)

        assert before - resident_kib(path) > 7_000
        assert torch.equal(weight, values)
        assert float(other.sum()) == total


def test_memory_that_is_not_mapped_from_a_file_is_left_alone(tmp_path: Path):
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.ones(10)}, path)
    with safe_open(path, framework="pt") as file:
        file.get_tensor("weight")
        computed = torch.arange(1_000_000)

        MappedFiles().release(computed)

        assert torch.equal(computed, torch.arange(1_000_000))
