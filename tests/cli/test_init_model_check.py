"""`init`, `model` and `check`: from an empty folder to a service that could start."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest
import yaml

from tests.infrastructure.whisper.conftest import make_whisper
from thoth_watch.domain import errors
from thoth_watch.infrastructure.models import MODELS, Machine, recommend_model, suggest_name
from thoth_watch.infrastructure.settings import load


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_whisper(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_init_writes_a_valid_configuration_and_creates_the_inbox(run, tmp_path: Path):
    done = run("init", "--yes", "--inbox", "./a: b", "--language", "no", "--formats", "srt, txt")

    assert done.returncode == 0, done.stderr
    settings = load(tmp_path / "config.yaml", {}, {})
    assert settings.inboxes[0].path == tmp_path / "a: b"
    assert (tmp_path / "a: b").is_dir()
    assert settings.engine.language == "no"
    assert settings.file_options.formats == ("srt", "txt")
    assert settings.engine.model in {model.name for model in MODELS}
    assert f"{settings.engine.model} (" in done.stderr, "prints the proposed model"
    assert "MB to download" in done.stderr
    assert "next: thoth-watch check" in done.stdout
    values = yaml.safe_load((tmp_path / "config.yaml").read_text())
    text = (tmp_path / "config.yaml").read_text()
    for section in values.values():
        for key in section:
            line = next(line for line in text.splitlines() if line.strip().startswith(f"{key}:"))
            assert "  # " in line, f"{key} has a comment"


def test_init_prompts_for_missing_options(run, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("recordings\ntiny\n"))

    assert run("init").returncode == 0
    settings = load(tmp_path / "config.yaml", {}, {})
    assert (settings.inboxes[0].path, settings.engine.model) == (
        tmp_path / "recordings",
        "tiny",
    )


def test_init_replaces_no_file_and_removes_an_invalid_one(run, tmp_path: Path):
    (tmp_path / "config.yaml").write_text("mine")
    done = run("init", "--yes")
    assert done.returncode == errors.EXIT_CONFIG
    assert "--output" in done.stderr
    assert (tmp_path / "config.yaml").read_text() == "mine"

    invalid = run("init", "--yes", "--formats", "doc", "--output", "new.yaml")
    assert invalid.returncode == errors.EXIT_CONFIG
    assert "allowed: txt" in invalid.stderr
    assert not (tmp_path / "new.yaml").exists()


@pytest.mark.parametrize(
    ("gpu", "memory", "cores", "name"),
    [
        (80, 200, 32, "turbo"),
        (8, 16, 4, "turbo"),
        (4, 16, 4, "small"),
        (0, 16, 8, "small"),
        (0, 16, 2, "base"),
        (0, 2, 4, "tiny"),
    ],
)
def test_the_proposed_model_suits_the_machine(gpu, memory, cores, name):
    assert recommend_model(Machine(gpu, memory, cores)).name == name


def test_a_similar_name_is_suggested_for_a_misspelled_model():
    assert suggest_name("openai/whisper-smal") == "openai/whisper-small"
    assert suggest_name("trubo") == "turbo"
    assert suggest_name("openai/whisper-small") is None
    assert suggest_name("someone/whisper-norwegian") is None


def test_models_are_listed_with_their_size_and_memory(run, tmp_path: Path):
    cache = tmp_path / "cache"
    weights = cache / "models--openai--whisper-tiny/snapshots/1/model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.touch()
    import huggingface_hub.constants

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
        rows = json.loads(run("model", "list", "--json").stdout)
        text = run("model", "list").stdout

    assert [row["name"] for row in rows if row["is_here"]] == ["tiny"]
    assert all(row["download_mb"] > 100 and row["memory_gib"] >= 1 for row in rows)
    assert str(cache) in text


def test_a_failed_download_suggests_a_similar_name(run):
    done = run("model", "pull", "openai/whisper-smal")

    assert done.returncode == errors.EXIT_UNAVAILABLE
    assert "did you mean openai/whisper-small?" in done.stderr
    assert run("model", "pull", "builtin").returncode == 0


def test_a_model_is_checked_by_loading_it(run, tiny: Path):
    facts = json.loads(
        run("model", "check", "--model", str(tiny), "--device", "cpu", "--json").stdout
    )

    assert (facts["device"], facts["model"]) == ("cpu", str(tiny))
    assert facts["revision"].startswith("sha256:")
    assert facts["revision"].endswith(facts["weights_sha256"])
    text = run("model", "check", "--model", str(tiny)).stdout
    assert "loaded in" in text
    assert f"engine.weights_sha256: {facts['weights_sha256']}" in text
    assert run("model", "check", "--model", "./nothing").returncode == errors.EXIT_UNAVAILABLE


def test_check_finds_no_problem_in_a_good_setup(run, tmp_path: Path, tiny: Path):
    run("init", "--yes", "--model", str(tiny))
    done = run("check", "--json", THOTH_WATCH_ENGINE_DEVICE="cpu")

    assert done.returncode == 0, done.stdout
    checks = {check["what"]: check for check in json.loads(done.stdout)["checks"]}
    assert {check["level"] for check in checks.values()} == {"ok"}, checks
    expected = {
        "versions",
        "ledger",
        "formats",
        "engine",
        "room for ledger",
        f"inbox {tmp_path / 'inbox'}",
    }
    assert expected <= set(checks)
    assert "torch" in checks["versions"]["said"]
    assert "cpu" in checks["engine"]["said"]


@pytest.mark.parametrize("in_memory", [False, True])
def test_check_shows_how_finished_recordings_are_moved(run, tmp_path: Path, in_memory: bool):
    folder = Path("/dev/shm") if in_memory else tmp_path
    if in_memory and (not folder.is_dir() or folder.stat().st_dev == tmp_path.stat().st_dev):
        pytest.skip("needs two file systems")
    (tmp_path / "inbox").mkdir()
    (tmp_path / "config.yaml").write_text(f"inbox: {{path: ./inbox, after: {folder}/thoth/old}}\n")
    done = run("check", "--no-engine")

    method = "another file system: they are copied" if in_memory else "renamed"
    assert f"finished recordings go to {folder}/thoth/old: {method}" in done.stdout
    assert not (folder / "thoth").exists()


def test_check_suggests_a_fix_for_each_problem(run, tmp_path: Path):
    run("init", "--yes")
    (tmp_path / "inbox").rmdir()
    done = run("check", "--no-engine")

    assert done.returncode == errors.EXIT_RETRY_LATER
    lines = done.stdout.splitlines()
    number = next(n for n, line in enumerate(lines) if line.startswith("fail"))
    assert f"-> mkdir -p {tmp_path / 'inbox'}" in lines[number + 1]
    assert os.linesep.join(lines).count("->") == 1
