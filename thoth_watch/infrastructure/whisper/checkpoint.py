"""Finds a model's files, refuses those that cannot be trusted, and says which version they are."""

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
    id_ = hub_id(model)
    if id_ is None:
        raise ModelUnavailable(f"model {model}: no such folder; {MODEL_HINT}")
    return _hub(id_, revision)


def hub_id(model: str) -> str | None:
    """The Hugging Face id that a model's name stands for; None for `builtin` and for paths."""
    is_path = model.startswith(("/", ".", "~")) or model.count("/") > 1 or "\\" in model
    if model == "builtin" or is_path or Path(model).expanduser().exists():
        return None
    return SHORT_NAMES.get(model, model)


def hash_weights(folder: Path) -> str:
    """sha256 of all weight files of a folder, with their names, in order of name."""
    whole = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as content:
            whole.update(
                f"{file.name}:{hashlib.file_digest(content, 'sha256').hexdigest()}\n".encode()
            )
    return whole.hexdigest()


def check_weights_hash(folder: Path, sha256: str) -> None:
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
        raise ModelUnavailable(f"model {model}: {folder} holds no config.json; {MODEL_HINT}")
    if not any(folder.glob("*.safetensors")):
        raise ModelUnavailable(
            f"model {model}: {folder} holds no *.safetensors; pickled weights (*.bin, *.pt) can "
            "run code and are not loaded: convert them to safetensors"
        )
    return Checkpoint(source=str(folder), commit=None, folder=folder)


def _hub(model: str, revision: str | None) -> Checkpoint:
    asked = f"model {model}" + (f" at revision {revision}" if revision else "")
    here = _find_in_cache(model, revision)
    if here is not None:
        return Checkpoint(source=str(here), commit=_commit_of(here), folder=here)
    try:
        config = cached_file(model, "config.json", revision=revision)
    except (OSError, ValueError) as error:
        reason = f"{error.__cause__ or error}".strip().splitlines()[0].rstrip(".")
        raise ModelUnavailable(
            f"{asked}: neither on this machine nor to be had from the hub ({reason}); {MODEL_HINT}"
        ) from error
    folder = Path(config).parent
    return Checkpoint(source=model, commit=_commit_of(folder), folder=folder)


def _find_in_cache(model: str, revision: str | None) -> Path | None:
    """The folder of a model that is on this machine with all its parts.

    It is loaded as a folder: a start then waits for no network, where the hub's library would ask
    for every file that the model might have, half a minute each. `model pull` renews it.
    """
    try:
        config = cached_file(model, "config.json", revision=revision, local_files_only=True)
    except (OSError, ValueError):
        return None
    folder = Path(config).parent
    held = {path.name for path in folder.iterdir() if path.exists()}
    weights = {"model.safetensors"}
    if "model.safetensors.index.json" in held:
        index = (folder / "model.safetensors.index.json").read_text(encoding="utf-8")
        weights = set(re.findall(r"[\w.-]+\.safetensors", index))
    tokens = held & {"tokenizer.json", "vocab.json"}
    is_whole = bool(tokens) and weights | {"preprocessor_config.json"} <= held
    return folder if is_whole else None


def _commit_of(folder: Path) -> str | None:
    """The commit of a folder of the hub's cache; None for any other folder."""
    return folder.name if folder.parent.name == "snapshots" else None
