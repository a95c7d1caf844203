from __future__ import annotations

import ast
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from thoth_watch.domain.errors import ConfigError
from thoth_watch.domain.file_options import FORMATS, Rule
from thoth_watch.infrastructure.settings import Origin, environment_names, load
from thoth_watch.infrastructure.settings.languages import LANGUAGES, language_code


def test_without_file_flags_and_environment_the_defaults_apply(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load(None, {}, {})
    assert settings.file is None
    assert settings.inboxes[0].path == tmp_path / "inbox"
    assert settings.ledger_url == f"sqlite:///{tmp_path}/thoth-watch.db"
    assert {origin.source for origin in settings.origins.values()} == {"default"}


def test_a_flag_overrides_the_environment_which_overrides_the_file(read) -> None:
    text = "engine: {device: cpu}\nbatch: {max_files: 4}\nlog: {level: error}\n"
    environ = {"THOTH_WATCH_ENGINE_DEVICE": "cuda", "THOTH_WATCH_BATCH_MAX_FILES": "5"}
    settings = read(text, environ=environ, flags={"engine.device": "cuda:1", "log.level": None})
    assert settings.engine.device == "cuda:1"
    assert settings.batch.max_files == 5
    origins = settings.origins
    assert origins["engine.device"] == Origin("cuda:1", "flag")
    assert origins["batch.max_files"] == Origin(5, "environment THOTH_WATCH_BATCH_MAX_FILES")
    assert origins["log.level"] == Origin("error", f"file {settings.file}:3")
    assert origins["engine.model"] == Origin("builtin", "default")


def test_only_a_device_named_by_a_flag_is_binding(read) -> None:
    text = "engine: {device: cuda}"
    assert not read(text).engine.device_is_binding
    assert not read(text, flags={"engine.device": "auto"}).engine.device_is_binding
    assert read(text, flags={"engine.device": "cpu"}).engine.device_is_binding


def test_every_key_can_be_set_in_the_environment(tmp_path) -> None:
    names = environment_names()
    assert len(set(names.values())) == len(names)
    environ = {
        "THOTH_WATCH_INBOX_PATH": str(tmp_path),
        "THOTH_WATCH_INBOX_RECURSIVE": "false",
        "THOTH_WATCH_INBOX_SETTLE_S": "0.5",
        "THOTH_WATCH_INBOX_EXTENSIONS": ".WAV, mp3",
        "THOTH_WATCH_INBOX_IGNORE": "*.bak,old-*",
        "THOTH_WATCH_BATCH_MAX_WAIT_S": "auto",
        "THOTH_WATCH_BATCH_GROUP_BY": "[language, folder]",
        "THOTH_WATCH_ENGINE_USE_CACHE": "0",
        "THOTH_WATCH_ENGINE_LANGUAGE": "no",
        "THOTH_WATCH_ENGINE_REVISION": "1234567",
        "THOTH_WATCH_TRANSCRIPT_FORMATS": "all",
        "THOTH_WATCH_RULES": "[{match: 'fr/**', language: fr}]",
        "THOTH_WATCH_LEDGER_URL": "",
        "PATH": "/bin",
    }
    settings = load(None, {}, environ)
    inbox = settings.inboxes[0]
    assert (inbox.path, inbox.recursive, inbox.settle_s) == (tmp_path, False, 0.5)
    assert inbox.extensions == ("wav", "mp3")
    assert inbox.ignore == ("*.bak", "old-*")
    assert settings.batch.max_wait_s is None
    assert settings.batch.group_by == ("language", "folder")
    assert settings.engine.use_cache is False
    assert settings.engine.language == "no"
    assert settings.engine.revision == "1234567"
    assert settings.file_options.formats == FORMATS
    assert settings.rules == (Rule("fr/**", (("language", "fr"),)),)


def test_an_unknown_variable_in_the_environment_is_reported(config_error) -> None:
    text = config_error("log: {level: info}", environ={"THOTH_WATCH_ENGINE_DEVCE": "cpu"})
    assert text == (
        "environment THOTH_WATCH_ENGINE_DEVCE: unknown variable; did you mean THOTH_WATCH_ENGINE_DEVICE?"
    )


def test_a_wrong_value_in_the_environment_is_reported_with_its_variable(config_error) -> None:
    text = config_error("log: {level: info}", environ={"THOTH_WATCH_BATCH_MAX_FILES": "many"})
    assert text.startswith("environment THOTH_WATCH_BATCH_MAX_FILES: batch.max_files: found 'many'")


def test_a_wrong_flag_is_reported(config_error) -> None:
    assert config_error("log: {level: info}", flags={"engine.task": "sing"}).startswith(
        "flag: engine.task: found 'sing'; allowed: transcribe, translate"
    )


def test_the_environment_may_name_the_file(tmp_path) -> None:
    path = tmp_path / "other.yaml"
    path.write_text("batch: {max_files: 3}")
    settings = load(None, {}, {"THOTH_WATCH_CONFIG": str(path)})
    assert settings.batch.max_files == 3
    assert settings.file == path


def test_paths_in_the_file_are_relative_to_it_and_others_to_the_current_folder(
    read, tmp_path, monkeypatch
) -> None:
    current = tmp_path / "current"
    current.mkdir()
    monkeypatch.chdir(current)
    text = (
        "inbox: {path: in}\nledger: {url: 'sqlite:///state/l.db?timeout=5'}\n"
        "engine: {model: ./models/a}\nrules: [{match: '*', output_dir: out, model: org/name}]\n"
    )
    settings = read(text, flags={"transcript.output_dir": "out"})
    assert settings.inboxes[0].path == tmp_path / "in"
    assert settings.ledger_url == f"sqlite:///{tmp_path}/state/l.db?timeout=5"
    assert settings.engine.model == str(tmp_path / "models/a")
    assert settings.file_options.output_dir == str(current / "out")
    assert dict(settings.rules[0].changes) == {
        "output_dir": str(tmp_path / "out"),
        "model": "org/name",
    }


def test_an_absolute_ledger_path_and_a_server_url_are_unchanged(read, monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())  # all extras seem installed
    assert read("ledger: {url: 'sqlite:////var/l.db'}").ledger_url == "sqlite:////var/l.db"
    server = "postgresql+psycopg://me:secret@host/thoth"
    settings = read(f"ledger: {{url: '{server}'}}")
    assert settings.ledger_url == server
    assert settings.origins["ledger.url"].value == "postgresql+psycopg://me:***@host/thoth"


def test_several_inboxes_each_have_their_own_keys(read, tmp_path) -> None:
    text = "inboxes:\n  - {path: a, settle_s: 5}\n  - {path: b, recursive: false}\n"
    settings = read(text)
    assert [inbox.path for inbox in settings.inboxes] == [tmp_path / "a", tmp_path / "b"]
    assert [inbox.settle_s for inbox in settings.inboxes] == [5, 2]
    assert settings.origins["inboxes[1].recursive"] == Origin(False, f"file {settings.file}:3")
    assert settings.origins["inboxes[1].settle_s"].source == "default"
    assert "inbox.path" not in settings.origins


def test_a_flag_for_the_inbox_reaches_every_inbox(read) -> None:
    text = "inboxes: [{path: a, settle_s: 5}, {path: b}]"
    settings = read(text, flags={"inbox.settle_s": 1})
    assert [inbox.settle_s for inbox in settings.inboxes] == [1, 1]


def test_a_flag_for_the_path_replaces_every_inbox(read, tmp_path) -> None:
    text = "inboxes: [{path: a}, {path: b}]"
    settings = read(text, flags={"inbox.path": str(tmp_path / "c")})
    assert [inbox.path for inbox in settings.inboxes] == [tmp_path / "c"]


def test_an_inbox_below_one_that_is_not_recursive_is_allowed(read) -> None:
    assert len(read("inboxes: [{path: a, recursive: false}, {path: a/b}]").inboxes) == 2


def test_an_empty_section_keeps_its_defaults(read) -> None:
    assert read("engine:\nrules:\ninboxes:\n").engine.model == "builtin"


def test_anchors_and_merge_keys_work(read) -> None:
    text = "inboxes:\n  - &a {path: a, settle_s: 9}\n  - {<<: *a, path: b}\n"
    assert [inbox.settle_s for inbox in read(text).inboxes] == [9, 9]


def test_rules_keep_their_order_and_contain_only_what_they_change(read) -> None:
    text = (
        "rules:\n- {match: 'fr/**', language: French}\n"
        "- {match: 'x/*', language: null, formats: all, priority: 5, name: '{stem}-{format}.t'}\n"
    )
    assert read(text).rules == (
        Rule("fr/**", (("language", "fr"),)),
        Rule(
            "x/*",
            (
                ("language", None),
                ("formats", FORMATS),
                ("name", "{stem}-{format}.t"),
                ("priority", 5),
            ),
        ),
    )


@pytest.mark.parametrize(
    ("text", "environ", "flags", "precision", "source"),
    [
        ("engine: {precision: fp16}", {}, {}, "float16", "file"),
        ("engine: {precision: no}", {}, {}, "float32", "file"),
        ("engine: {precision: bf16+int8}", {}, {}, "bfloat16+int8", "file"),
        ("engine: {enable_mixed_precision: false}", {}, {}, "float32", "file"),
        ("performance: {mixed_precision: no}", {}, {}, "float32", "file"),
        ("performance: {mixed_precision: bf16}", {}, {}, "bfloat16", "file"),
        (
            "performance: {mixed_precision: fp16}",
            {"ACCELERATE": "no"},
            {},
            "float32",
            "environment",
        ),
        ("engine: {precision: fp16}", {"ACCELERATE": "BF16"}, {}, "bfloat16", "environment"),
        ("engine: {enable_mixed_precision: false}", {"ACCELERATE": "fp16"}, {}, "float16", "env"),
        ("log: {}", {"ACCELERATE": "bf16", "THOTH": "fp16"}, {}, "float16", "environment THOTH"),
        ("log: {}", {"ACCELERATE": "bf16"}, {"engine.precision": "int8"}, "int8", "flag"),
        ("log: {}", {"ACCELERATE": "bf16"}, {"engine.precision": "auto"}, "auto", "flag"),
        (
            "performance: {mixed_precision: bf16}\nengine: {precision: auto}",
            {},
            {},
            "bfloat16",
            "file",
        ),
        ("log: {}", {"ACCELERATE": ""}, {}, "auto", "default"),
    ],
)
def test_the_precision_of_the_strongest_source_applies(
    read, text, environ, flags, precision, source
) -> None:
    names = {"ACCELERATE": "ACCELERATE_MIXED_PRECISION", "THOTH": "THOTH_WATCH_ENGINE_PRECISION"}
    settings = read(text, environ={names[k]: v for k, v in environ.items()}, flags=flags)
    assert settings.engine.precision == precision
    assert settings.origins["engine.precision"].value == precision
    assert settings.origins["engine.precision"].source.startswith(source)
    if precision != "float32":
        assert settings.engine.enable_mixed_precision


def test_two_keys_of_one_source_that_request_different_precisions_are_a_problem(
    config_error,
) -> None:
    text = config_error("engine: {precision: fp16}\nperformance: {mixed_precision: no}")
    assert text == (
        "config.yaml:2: performance.mixed_precision: requests float32, "
        "but engine.precision requests float16; keep one"
    )


def test_accelerates_cache_variable_is_applied(read) -> None:
    assert read("log: {}", environ={"ACCELERATE_USE_CACHE": "false"}).engine.use_cache is False
    assert read(
        "engine: {use_cache: false}", environ={"ACCELERATE_USE_CACHE": "True"}
    ).engine.use_cache


@pytest.mark.parametrize(
    ("text", "code"),
    [("en", "en"), ("French", "fr"), ("haitian  creole", "ht"), ("Burmese", "my"), ("YUE", "yue")],
)
def test_a_language_is_given_by_code_or_english_name(text: str, code: str) -> None:
    assert language_code(text) == code


def test_whispers_hundred_languages_are_known() -> None:
    assert len(LANGUAGES) == 100
    transformers = find_spec(
        "transformers"
    )  # its source is parsed, because the import takes seconds
    if transformers is None or transformers.origin is None:
        pytest.skip("transformers is not installed")
    source = Path(transformers.origin).parent / "models/whisper/tokenization_whisper.py"
    tables = {
        node.targets[0].id: node.value
        for node in ast.parse(source.read_text()).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    assert ast.literal_eval(tables["LANGUAGES"]) == LANGUAGES
    others = tables["TO_LANGUAGE_CODE"]
    assert isinstance(others, ast.Dict)
    for key, value in zip(others.keys, others.values, strict=True):
        if isinstance(key, ast.Constant):
            assert language_code(key.value) == ast.literal_eval(value)


def test_norwegian_without_quotes_is_norwegian(read) -> None:
    assert read("engine: {language: no}").engine.language == "no"


@pytest.mark.parametrize("value", ["null", "auto", "none", "~"])
def test_a_language_may_be_left_to_detection(read, value: str) -> None:
    assert read(f"engine: {{language: {value}}}").engine.language is None


def test_loading_settings_imports_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; from thoth_watch.infrastructure.settings import load; load(None, {}, {});"
        "sys.exit(bool({'torch', 'transformers', 'sqlalchemy', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_inbox_path_may_contain_undecodable_bytes(tmp_path: Path) -> None:
    path = str(tmp_path / "in\udcff")
    assert str(load(None, {}, {"THOTH_WATCH_INBOX_PATH": path}).inboxes[0].path) == path


def test_a_problem_creates_no_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        load(None, {"inbox.path": str(tmp_path / "in"), "batch.order": "x"}, {})
    assert list(tmp_path.iterdir()) == []


def test_diarization_is_enabled_by_default_or_by_rule(read, tmp_path: Path) -> None:
    settings = read(
        "diarize: {model: ./pipeline, min_speakers: 2}\nrules: [{match: 'meetings/**', diarize: true}]"
    )
    assert settings.diarization.model == str(tmp_path / "pipeline")
    assert (settings.diarization.min_speakers, settings.diarization.max_speakers) == (2, None)
    assert not settings.file_options.diarize
    assert settings.rules[0].changes == (("diarize", True),)
    assert read("diarize: {enabled: true}").file_options.diarize


def test_a_maximum_of_speakers_below_the_minimum_is_a_problem(config_error) -> None:
    text = config_error("diarize: {min_speakers: 3, max_speakers: 2}")
    assert "diarize.max_speakers: found 2, which is less than min_speakers: 3; raise it" in text


@pytest.mark.parametrize(
    ("value", "devices"),
    [
        ("null", None),
        ("auto", ("auto",)),
        ("[cuda:0, CUDA:1]", ("cuda:0", "cuda:1")),
        ("cpu x 3", ("cpu", "cpu", "cpu")),
        ("cuda:1x2", ("cuda:1", "cuda:1")),
    ],
)
def test_the_devices_that_get_an_engine(tmp_path, value: str, devices) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"engine: {{devices: {value}}}")

    assert load(path, {}, {}).devices == devices
