"""Tests of the trainer with a tiny corpus: every stage, resuming after a kill, and the export."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from training.corpus import make_shard
from training.evaluate import ModelTranscriber
from training.export import export
from training.tokenizer import build_tokenizer, save_processor
from training.train import Trainer

HOURS = 0.03  # 108 s of audio, enough to reach every stage


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    try:
        make_shard(folder, "espeak", 0, hours=0.02, limit_s=60)
    except OSError:
        pytest.skip("needs libespeak-ng1")
    make_shard(folder, "noise", 0, hours=0.005, limit_s=60)
    return folder


@pytest.fixture
def make_trainer(tmp_path: Path, corpus: Path):
    def make(name: str) -> Trainer:
        folder = tmp_path / name
        if not folder.exists():
            save_processor(build_tokenizer(), folder / "tokenizer")
        return Trainer(folder, corpus, hours=HOURS, seed=3)

    return make


def test_training_resumed_after_a_kill_gives_the_same_weights(make_trainer, tmp_path: Path):
    whole = make_trainer("whole")
    while whole.share < 1:
        losses = whole.train_step()
    assert losses["token"] > 0

    first = make_trainer("killed")
    assert not first.resume()
    first.train_step()
    first.save()
    first.train_step()  # this step is lost in the kill
    second = make_trainer("killed")
    assert second.resume()
    assert second.step == 1
    while second.share < 1:
        second.train_step()
    second.save()

    assert second.step == whole.step >= 3
    for name, weights in whole.average.items():
        torch.testing.assert_close(second.average[name], weights, msg=name)
    means = sorted((tmp_path / "killed" / "means").glob("*.pt"))
    assert len(means) == 1  # the first save was before means are kept
    export([*means, tmp_path / "killed" / "checkpoint.pt"], tmp_path / "model")
    texts = ModelTranscriber(tmp_path / "model").transcribe([torch.zeros(16_000).numpy()])
    assert len(texts) == 1
