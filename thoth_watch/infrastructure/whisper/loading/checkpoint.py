"""Checkpoints: find a model's safetensors files, refuse pickled weights, and compute the revision.

The revision is the hub's commit or a hash of the weights; it is part of an engine's fingerprint.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from transformers.utils import cached_file

from thoth_watch.domain.errors import EngineUnavailable

SHORT_NAMES = {
    "large": "openai/whisper-large-v3",
    "turbo": "openai/whisper-large-v3-turbo",
    "large-v3-turbo": "openai/whisper-large-v3-turbo",
    **{
        name: f"openai/whisper-{name}"
        for name in (
            *("tiny", "base", "small", "medium", "large-v1", "large-v2", "large-v3"),
            *("tiny.en", "base.en", "small.en", "medium.en"),
        )
    },
    **{
        name: f"distil-whisper/{name}"
        for name in ("distil-small.en", "distil-medium.en", "distil-large-v2", "distil-large-v3")
    },
}
MODEL_HINT = (
    "set engine.model: builtin, a Hugging Face id such as openai/whisper-small, or a folder"
)


class ModelUnavailable(EngineUnavailable):
    """The model is unavailable, to every engine: no fallback can help."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The location of a model's files: a local folder, or a hub id with its commit."""

    source: str  # argument for from_pretrained: a folder or a hub id
    commit: str | None  # the hub's commit; None for a local folder
    folder: Path  # folder of the files; of a hub model the snapshot, which may still be incomplete

    @property
    def revision(self) -> str:
        """Return the hub's commit, or `sha256:` and the hash of the weights."""
        return self.commit or f"sha256:{hash_weights(self.folder)}"


def find_checkpoint(model: str, *, revision: str | None, builtin: Path) -> Checkpoint:
    """Return the checkpoint of `builtin`, of a local folder or of a Hugging Face id.

    Raises ModelUnavailable if it does not exist or has only pickled weights.
    """
    if model == "builtin":
        if not builtin.is_dir():
            raise ModelUnavailable(
                "model builtin: not included in this installation; set engine.model to another model,"
                " such as openai/whisper-small or a folder, or train it (see training/README.md)"
            )
        return _local_checkpoint(builtin, "builtin")
    path = Path(model).expanduser()
    if path.is_dir():
        return _local_checkpoint(path, model)
    id_ = hub_id(model)
    if id_ is None:
        raise ModelUnavailable(f"model {model}: no such folder; {MODEL_HINT}")
    return _hub_checkpoint(id_, revision)


def hub_id(model: str) -> str | None:
    """Return the Hugging Face id of a model name; None for `builtin` and for paths."""
    is_path = model.startswith(("/", ".", "~")) or model.count("/") > 1 or "\\" in model
    if model == "builtin" or is_path or Path(model).expanduser().exists():
        return None
    return SHORT_NAMES.get(model, model)


def hash_weights(folder: Path) -> str:
    """Return the sha256 over the names and hashes of a folder's weight files, sorted by name."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as content:
            digest.update(
                f"{file.name}:{hashlib.file_digest(content, 'sha256').hexdigest()}\n".encode()
            )
    return digest.hexdigest()


def check_weights_hash(folder: Path, sha256: str) -> None:
    """Raise ValueError unless the weights have the pinned hash.

    sha256: the result of `hash_weights`; for a model with a single weight file also its `sha256sum`.
    """
    actual = hash_weights(folder)
    files = list(folder.glob("*.safetensors"))
    if sha256 == actual:
        return
    if len(files) == 1:
        with files[0].open("rb") as content:
            if sha256 == hashlib.file_digest(content, "sha256").hexdigest():
                return
    raise ValueError(
        f"its weights are not those of engine.weights_sha256; if you trust them, set it to {actual}"
    )


def _local_checkpoint(folder: Path, model: str) -> Checkpoint:
    if not (folder / "config.json").is_file():
        raise ModelUnavailable(f"model {model}: {folder} contains no config.json; {MODEL_HINT}")
    if not any(folder.glob("*.safetensors")):
        raise ModelUnavailable(
            f"model {model}: {folder} contains no *.safetensors; pickled weights (*.bin, *.pt) can "
            "run code and are never loaded; convert them to safetensors"
        )
    return Checkpoint(source=str(folder), commit=None, folder=folder)


def _hub_checkpoint(model: str, revision: str | None) -> Checkpoint:
    name = f"model {model}" + (f" at revision {revision}" if revision else "")
    cached = _find_in_cache(model, revision)
    if cached is not None:
        return Checkpoint(source=str(cached), commit=_commit_of(cached), folder=cached)
    try:
        config = cached_file(model, "config.json", revision=revision)
    except (OSError, ValueError) as error:
        reason = f"{error.__cause__ or error}".strip().splitlines()[0].rstrip(".")
        raise ModelUnavailable(
            f"{name}: neither on this machine nor available from the hub ({reason}); {MODEL_HINT}"
        ) from error
    folder = Path(config).parent
    return Checkpoint(source=model, commit=_commit_of(folder), folder=folder)


def _find_in_cache(model: str, revision: str | None) -> Path | None:
    """Return the folder of a model that is completely in the hub's cache, else None.

    Loading it as a folder needs no network: with a hub id, huggingface_hub would probe the hub for
    every optional file and, offline, wait about 30 s for each. `model pull` updates the cache.
    """
    try:
        config = cached_file(model, "config.json", revision=revision, local_files_only=True)
    except (OSError, ValueError):
        return None
    folder = Path(config).parent
    names = {path.name for path in folder.iterdir() if path.exists()}
    weights = {"model.safetensors"}
    if "model.safetensors.index.json" in names:
        index = (folder / "model.safetensors.index.json").read_text(encoding="utf-8")
        weights = set(re.findall(r"[\w.-]+\.safetensors", index))
    tokenizer = names & {"tokenizer.json", "vocab.json"}
    is_complete = bool(tokenizer) and weights | {"preprocessor_config.json"} <= names
    return folder if is_complete else None


def _commit_of(folder: Path) -> str | None:
    """Return the commit of a snapshot folder of the hub's cache; None for any other folder."""
    return folder.name if folder.parent.name == "snapshots" else None
