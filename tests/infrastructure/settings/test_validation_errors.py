from __future__ import annotations

from pathlib import Path

import pytest

from thoth_watch.domain.errors import EXIT_CONFIG, ConfigError
from thoth_watch.infrastructure.settings import load


def test_an_unknown_key_is_reported_with_file_line_key_and_nearest_spelling(config_error) -> None:
    text = "# a comment\n\nengine:\n  model: builtin\n  presicion: fp16\n"
    assert (
        config_error(text)
        == "config.yaml:5: engine.presicion: unknown key; did you mean precision?"
    )


def test_a_key_in_the_wrong_section_is_reported_with_the_right_one(config_error) -> None:
    assert config_error("device: cpu\n").endswith(
        "config.yaml:1: device: unknown key; did you mean engine.device?"
    )


def test_all_problems_are_reported_in_the_order_of_the_file(config_error) -> None:
    lines = config_error("batch: {max_files: 0}\nengine:\n  a: 1\n  task: sing\n").splitlines()
    assert [line.split(": ")[0] for line in lines] == [
        "config.yaml:1",
        "config.yaml:3",
        "config.yaml:4",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("engine: {engine_type: acelerated}", "did you mean accelerated?"),
        ("engine: {batch_size: '8'}", "allowed: auto, or a whole number, 1 or more"),
        ("engine: {batch_size: 8.5}", "found 8.5; allowed: auto, or a whole number"),
        ("engine: {batch_size: true}", "found true; allowed: auto, or a whole number"),
        ("engine: {batch_size: 0}", "found 0; allowed: auto, or a whole number, 1 or more"),
        ("engine: {use_cache: 'yes'}", "allowed: true or false, without quotes"),
        ("engine: {use_cache: }", "found no value; allowed: true or false"),
        ("engine: {precision: fp99}", "auto, float32, float16, bfloat16, int8"),
        ("engine: {precision: fp16+bf16+int8}", "or two joined by +"),
        ("engine: {language: frensh}", "did you mean french (fr)?"),
        ("engine: {revision: 1234567}", "in quotes if it looks like a number"),
        ("engine: {weights_sha256: abc}", "allowed: null, or 64 hex digits"),
        ("engine: {device: 0}", "found 0; allowed: text"),
        ("engine: {device: 'the gpu'}", "allowed: auto, cpu, cuda, cuda:1"),
        ("engine: {devices: [cuda:0, 'the gpu']}", "a list such as [cuda:0, cuda:1], or cpu x 4"),
        ("engine: {devices: cpu x 0}", "allowed: null, auto, a list"),
        ("engine: {idle_unload_s: 0}", "allowed: null, or seconds above 0"),
        ("batch: {max_files: 0}", "allowed: auto, or a whole number, 1 or more"),
        ("batch: {max_audio_s: much}", "allowed: auto, or seconds above 0"),
        ("engine: {fallback: always}", "allowed: never, warn"),
        ("engine: 5", "config.yaml:1: engine: found 5; allowed: a mapping"),
        ("audio: {sample_rate: 44100}", "found 44100; allowed: 16000"),
        ("audio: {buffer_duration: 0}", "allowed: a number above 0"),
        ("audio: {buffer_duration: .nan}", "allowed: a finite number"),
        ("batch: {max_wait_s: soon}", "found 'soon'; allowed: auto, or seconds"),
        ("batch: {max_wait_s: -1}", "found -1; allowed: auto, or seconds"),
        ("batch: {group_by: [langage]}", "did you mean language?"),
        ("batch: {order: newest}", "allowed: auto, oldest, shortest, longest, priority"),
        ("performance: {mixed_precision: fp8}", "allowed: null, no, fp16, bf16"),
        ("performance: {mixed_precision: [fp16]}", "allowed: null, no, fp16, bf16"),
        ("transcript: {formats: [txt, doc]}", "'doc' is not allowed; allowed: txt, srt"),
        ("transcript: {formats: []}", "at least one of txt"),
        ("transcript: {name: '{stem}.txt'}", "that contains {stem} and {format}"),
        ("transcript: {name: 'out/{stem}.{format}'}", "that contains {stem} and {format}"),
        ("transcript: {name: '{stem}.{lang}.{format}'}", 'or "{stem}.{language}.{format}"'),
        ("transcript: {name: '{language}.{format}'}", "that contains {stem} and {format}"),
        ("transcript: {name: '{format}.{stem}'}", "would have the extension of a recording"),
        ("transcript: {name: '{stem}.{format}.wav'}", "would have the extension of a recording"),
        ("transcript: {name: {stem}.{format}}", "not valid YAML"),
        ("inbox: {extensions: [wav, txt]}", "transcripts have this extension"),
        ("inbox: {sentinel: ready}", "allowed: null, or a file name suffix with its dot"),
        ("inbox: {sentinel: .ready/}", "a file name suffix with its dot, such as .ready"),
        ("inbox: {sentinel: .txt}", "a file name suffix with its dot, such as .ready"),
        ("batch: {quiet_hours: [22-7]}", "'22-7' is not a span of hours such as 22:00-07:00"),
        ("batch: {max_batch_s: 0}", "allowed: null, or seconds above 0"),
        ("inbox: {extensions: []}", "allowed: a list of file name extensions"),
        ("inbox: {watcher: kqueue}", "allowed: auto, inotify, polling"),
        ("inbox: {path: ''}", "found ''; allowed: text"),
        ("inbox: {settle_s: -1}", "allowed: a number from 0"),
        ("inboxes: []", "found an empty list; name at least one folder"),
        ("inboxes: [{recursive: true}]", "inboxes[0].path: missing"),
        ("inbox: {path: in, after: in/old}", "use a folder neither inside nor above it"),
        ("inbox: {path: in/new, after: in}", "use a folder neither inside nor above it"),
        ("inboxes: [{path: a}, {path: b, after: a/b}]", "inboxes[1].after:"),
        ("inboxes: [{path: a}, {path: a}]", "is already watched by inboxes[0]"),
        ("inboxes: [{path: a/b}, {path: a}]", "inboxes[0].path"),
        ("inbox: {path: a}\ninboxes: [{path: b}]", "config.yaml:2: inboxes: inbox is also set"),
        ("rules: {match: a}", "allowed: a list"),
        ("rules: [{match: 'fr/**'}]", "rules[0]: changes nothing; add one of language, task"),
        ("rules: [{match: 'fr/**', langauge: fr}]", "rules[0].langauge: unknown key; did you mean"),
        ("rules: [{language: fr}]", "rules[0].match: missing"),
        ("rules: [{match: 'fr/', language: fr}]", 'for all files in the folder use "fr/**"'),
        ("rules: [{match: '/fr/**', language: fr}]", "a glob on the path below the inbox"),
        ("rules: [{match: '**', priority: high}]", "found 'high'; allowed: a whole number"),
        ("ledger: {url: ledger.db}", "allowed: sqlite:///FILE"),
        ("ledger: {url: 'sqlite:///:memory:'}", "is lost on exit"),
        ("ledger: {url: 'mysql://host/x'}", "allowed: sqlite:///FILE"),
        ("log: {level: loud}", "allowed: debug, info, warning, error"),
        ("on: 1", "config.yaml:1: on: unknown key"),
        (
            "engine: {model: a}\n\nengine: {model: b}",
            "config.yaml:3: engine: duplicate key (first in",
        ),
        ("engine:\n  model: a\n  model: b", "config.yaml:3: engine.model: duplicate key"),
        ("", "config.yaml: empty; write at least"),
        ("# only a comment\n", "config.yaml: empty"),
        ("- a\n- b", "config.yaml:1: found a list; allowed: a mapping"),
        ("inbox", "config.yaml:1: found the single value 'inbox'"),
        ("engine: [", "config.yaml:1: not valid YAML"),
        ("engine:\n\tmodel: a", "config.yaml:2: not valid YAML"),
        ("a: 1\n---\nb: 2", "config.yaml:2: not valid YAML"),
        ("log: {level: 2024-13-45}", "not valid YAML: month must be in 1..12"),
        ("rules: &a [*a]", "aliases that contain themselves"),
        ("engine: !!python/object:os.system x", "not valid YAML"),
    ],
)
def test_a_wrong_value_is_reported_with_the_allowed_values(
    config_error, text: str, message: str
) -> None:
    assert message in config_error(text)


def test_aliases_of_aliases_do_not_fill_the_memory(config_error) -> None:
    levels = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 12))
    assert "aliases" in config_error("l0: &l0 [a]\n" + levels)


def test_a_missing_file_is_reported_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no-such\.yaml: No such file") as error:
        load(tmp_path / "no-such.yaml", {}, {})
    assert error.value.exit_code == EXIT_CONFIG


def test_a_folder_as_configuration_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Is a directory"):
        load(tmp_path, {}, {})


def test_a_binary_file_as_configuration_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"RIFF\x00\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load(path, {}, {})


def test_a_huge_file_is_not_read_as_configuration(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"#" * 2_000_000)
    with pytest.raises(ConfigError, match="larger than"):
        load(path, {}, {})


def test_a_password_is_not_shown_in_an_error(config_error) -> None:
    text = config_error("ledger: {url: 'mysql://me:secret@host/x'}")
    assert "secret" not in text
    assert "me:***@host" in text
