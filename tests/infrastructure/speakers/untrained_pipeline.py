"""A pipeline of pyannote.audio with small untrained networks; its output is noise."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

CONFIG = """\
pipeline:
  name: pyannote.audio.pipelines.SpeakerDiarization
  params:
    segmentation: $model/segmentation
    embedding: $model/embedding
    plda: $model/plda
    clustering: AgglomerativeClustering
params:
  segmentation: {min_duration_off: 0.0}
  clustering: {method: centroid, min_cluster_size: 1, threshold: 0.7}
"""


def make_pipeline(folder: Path) -> Path:
    """Write a pipeline folder in the layout of the hub and return it; needs pyannote.audio."""
    os.environ["PYANNOTE_METRICS_ENABLED"] = "0"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _save_networks(folder)
    (folder / "plda").mkdir()
    identity = {"mean1": np.zeros(8), "mean2": np.zeros(8), "lda": np.eye(8)}
    np.savez(folder / "plda/xvec_transform.npz", **identity)
    np.savez(folder / "plda/plda.npz", mu=np.zeros(8), tr=np.eye(8), psi=np.linspace(2, 1, 8))
    (folder / "config.yaml").write_text(CONFIG)
    return folder


def _save_networks(folder: Path) -> None:
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pyannote.audio.models.embedding import XVectorSincNet
    from pyannote.audio.models.segmentation import PyanNet

    torch.manual_seed(0)
    small = {"hidden_size": 8, "num_layers": 1}
    segmentation = PyanNet(lstm=small, linear=small)
    segmentation.specifications = Specifications(
        problem=Problem.MONO_LABEL_CLASSIFICATION,
        resolution=Resolution.FRAME,
        duration=10.0,
        classes=["one", "two", "three"],
        powerset_max_classes=2,
        permutation_invariant=True,
    )
    embedding = XVectorSincNet(dimension=8)
    embedding.specifications = Specifications(
        problem=Problem.REPRESENTATION,
        resolution=Resolution.CHUNK,
        duration=3.0,
        classes=["one", "two"],
    )
    for network, name in ((segmentation, "segmentation"), (embedding, "embedding")):
        network.build()
        _save(network, folder / name)


def _save(network: Any, folder: Path) -> None:
    folder.mkdir(parents=True)
    checkpoint = {
        "state_dict": network.state_dict(),
        "hyper_parameters": dict(network.hparams),
        "pytorch-lightning_version": "2.0.0",
    }
    network.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, folder / "pytorch_model.bin")
