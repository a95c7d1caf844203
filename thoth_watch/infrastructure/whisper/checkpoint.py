"""Finds a model's files, refuses those that cannot be trusted, and says which version they are."""

from __future__ import annotations

import hashlib
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
TRY_INSTEAD = (
    "set engine.model: builtin, a Hugging Face id such as openai/whisper-small, or a folder"
)


class ModelUnavailable(EngineUnavailable):
    """The model cannot be had; no other engine could have it either."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a model's files are: a folder, or an id with the commit that was found."""

    source: str  # what from_pretrained takes
    commit: str | None  # of a hub model
    folder: Path  # where the files lie, downloaded or not

    @property
    def revision(self) -> str:
        """The hub's commit, else `sha256:` and the hash of the weights."""
        return self.commit or f"sha256:{hash_weights(self.folder)}"


def find_checkpoint(model: str, *, revision: str | None, builtin: Path) -> Checkpoint:
    """The files of `builtin`, of a folder, or of a Hugging Face id.

    Raises ModelUnavailable for what is not there, or holds only pickled weights.
    """
    if model == "builtin":
        if not builtin.is_dir():
            raise ModelUnavailable(
                "model builtin: this copy of the program does not have it; set engine.model to a"
                " Whisper, such as openai/whisper-small or a folder, or make it: see training/README.md"
            )
        return _local(builtin, "builtin")
    path = Path(model).expanduser()
    if path.is_dir():
        return _local(path, model)
    is_path = model.startswith(("/", ".", "~")) or model.count("/") > 1 or "\\" in model
    if is_path or path.exists():
        raise ModelUnavailable(f"model {model}: no such folder; {TRY_INSTEAD}")
    return _hub(SHORT_NAMES.get(model, model), revision)


def hash_weights(folder: Path) -> str:
    """sha256 of all weight files of a folder, with their names, in order of name."""
    whole = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as content:
            whole.update(
                f"{file.name}:{hashlib.file_digest(content, 'sha256').hexdigest()}\n".encode()
            )
    return whole.hexdigest()


def check_pinned(folder: Path, sha256: str) -> None:
    """Raise ValueError unless the weights are the ones that were pinned.

    sha256: `hash_weights`, or of a model in one file what `sha256sum` says of that file.
    """
    found = hash_weights(folder)
    files = list(folder.glob("*.safetensors"))
    if sha256 == found:
        return
    if len(files) == 1:
        with files[0].open("rb") as content:
            if sha256 == hashlib.file_digest(content, "sha256").hexdigest():
                return
    raise ValueError(
        f"its weights are not those of engine.weights_sha256; if these are the right ones, set it to {found}"
    )


def _local(folder: Path, model: str) -> Checkpoint:
    if not (folder / "config.json").is_file():
        raise ModelUnavailable(f"model {model}: {folder} holds no config.json; {TRY_INSTEAD}")
    if not any(folder.glob("*.safetensors")):
        raise ModelUnavailable(
            f"model {model}: {folder} holds no *.safetensors; pickled weights (*.bin, *.pt) can "
            "run code and are not loaded: convert them to safetensors"
        )
    return Checkpoint(source=str(folder), commit=None, folder=folder)


def _hub(model: str, revision: str | None) -> Checkpoint:
    asked = f"model {model}" + (f" at revision {revision}" if revision else "")
    try:
        config = cached_file(model, "config.json", revision=revision)
    except (OSError, ValueError) as error:
        reason = f"{error.__cause__ or error}".strip().splitlines()[0].rstrip(".")
        raise ModelUnavailable(
            f"{asked}: neither on this machine nor to be had from the hub ({reason}); {TRY_INSTEAD}"
        ) from error
    folder = Path(config).parent
    commit = folder.name if folder.parent.name == "snapshots" else None
    return Checkpoint(source=model, commit=commit, folder=folder)
