from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path

import pytest
import yaml

from thoth_watch.domain.audio import AudioConfig
from thoth_watch.domain.batching import BatchPolicy
from thoth_watch.domain.decoding import DecodingOptions
from thoth_watch.domain.engine import TranscriptionEngineConfig
from thoth_watch.domain.speakers import DiarizationConfig
from thoth_watch.domain.subtitles import SubtitleLayout
from thoth_watch.infrastructure.settings import load, schema
from thoth_watch.infrastructure.settings.layers import key_types

CONFIG = Path(__file__).parents[3] / "config.yaml"


def test_config_yaml_contains_every_key() -> None:
    data = yaml.safe_load(CONFIG.read_text())
    listed = {
        f"{section}.{key}"
        for section, below in data.items()
        if isinstance(below, dict)
        for key in below
    }
    assert listed == {key for key in key_types() if "." in key}
    assert "rules" in data
    assert "inboxes" in CONFIG.read_text()


def test_every_key_in_config_yaml_has_a_description() -> None:
    for line in CONFIG.read_text().splitlines():
        if line.startswith("  ") and ":" in line.split("#")[0] and "[wav" not in line:
            assert "# " in line, line


def test_the_values_of_config_yaml_are_the_defaults(monkeypatch) -> None:
    monkeypatch.chdir(CONFIG.parent)
    from_file, defaults = load(CONFIG, {}, {}), load(None, {}, {})
    assert replace(from_file, origins={}, file=None) == replace(defaults, origins={})


def test_the_defaults_of_config_yaml_are_those_of_the_domain() -> None:
    from thoth_watch.domain.audio import AUDIO_EXTENSIONS, AudioConfig
    from thoth_watch.domain.batching import BatchPolicy
    from thoth_watch.domain.engine import TranscriptionEngineConfig
    from thoth_watch.domain.file_options import FileOptions

    settings = load(CONFIG, {}, {})
    assert settings.audio == AudioConfig()
    assert settings.batch == BatchPolicy()
    assert settings.engine == TranscriptionEngineConfig()
    assert settings.file_options == FileOptions()
    assert settings.inboxes[0].extensions == AUDIO_EXTENSIONS


def test_paths_in_config_yaml_are_relative_to_it(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load(Path(os.path.relpath(CONFIG)), {}, {})
    assert settings.inboxes[0].path == CONFIG.parent / "inbox"
    assert settings.ledger_url == f"sqlite:///{CONFIG.parent}/thoth-watch.db"


def test_the_example_rules_in_config_yaml_are_valid() -> None:
    examples = [line[2:] for line in CONFIG.read_text().splitlines() if line.startswith("# - {")]
    assert len(examples) == 2
    assert load(None, {"rules": f"[{', '.join(s.lstrip('- ') for s in examples)}]"}, {}).rules


@pytest.mark.parametrize(
    ("section", "kind", "used_elsewhere", "not_keys"),
    [
        (schema.AudioSection, AudioConfig, {"channels"}, set()),
        (schema.BatchSection, BatchPolicy, {"quiet_hours"}, set()),
        (
            schema.EngineSection,
            TranscriptionEngineConfig,
            {"devices", "idle_unload_s", "vad"},
            {"device_is_binding", "decoding"},
        ),
        (schema.DecodingSection, DecodingOptions, set(), set()),
        (schema.DiarizeSection, DiarizationConfig, {"enabled"}, set()),
        (schema.TranscriptSection, SubtitleLayout, {"formats", "output_dir", "name"}, set()),
    ],
)
def test_every_key_reaches_the_value_that_is_built_from_its_section(
    section, kind, used_elsewhere: set[str], not_keys: set[str]
) -> None:
    """Keys are matched with fields by name: a key of another name would be ignored without an error."""
    names = {field.name for field in fields(kind)}
    assert set(section.model_fields) - used_elsewhere == names - not_keys
