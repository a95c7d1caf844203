"""One configuration with several inboxes, each with its own rules, folders and names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.reliability.workspace import Workspace, write_recording


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path)
    document = {
        "inboxes": [
            {"path": "calls", "settle_s": 0.1, "after": "archive"},
            {"path": "uploads", "settle_s": 0.1, "sentinel": ".ready"},
        ],
        "engine": {"vad": "off"},  # the test recordings are noise
        "ledger": {"url": f"sqlite:///{workspace.database}"},
        "rules": [
            {"match": "fr/**", "language": "fr", "name": "{stem}.{language}.{format}"},
            {"match": "*.wav", "formats": ["srt"], "output_dir": "texts"},
        ],
        "transcript": {"formats": ["txt"]},
    }
    workspace.config.write_text(json.dumps(document))
    return workspace


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_each_recording_follows_its_inbox_and_its_rules(workspace: Workspace):
    for number, name in enumerate(
        ("calls/a.wav", "calls/fr/b.wav", "uploads/c.wav", "uploads/fr/d.wav", "uploads/late.wav")
    ):
        write_recording(workspace.folder / name, seed=number)
    for name in ("uploads/c.wav.ready", "uploads/fr/d.ready"):
        (workspace.folder / name).touch()

    assert workspace.run("once") == 1, workspace.log()  # one waits for its sentinel

    assert files(workspace.folder / "calls") == {"fr/b.en.txt"}
    assert files(workspace.folder / "archive") == {"a.wav", "fr/b.wav"}
    assert files(workspace.folder / "texts") == {"a.srt", "c.srt"}
    assert files(workspace.folder / "uploads") == {
        *("c.wav", "c.wav.ready", "fr/d.wav", "fr/d.ready", "fr/d.en.txt", "late.wav"),
    }
    (waiting,) = workspace.query("SELECT path, state, reason FROM failures")
    assert waiting[:2] == (str(workspace.folder / "uploads/late.wav"), "SEEN")
    assert ".ready" in waiting[2]

    (workspace.folder / "uploads/late.ready").touch()
    assert workspace.run("once") == 0, workspace.log()
    assert "late.srt" in files(workspace.folder / "texts")
