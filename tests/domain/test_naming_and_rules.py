"""Names of transcripts, and the rules that match a path."""

from __future__ import annotations

from pathlib import Path, PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thoth_watch.domain.engine import TranscriptionEngineConfig, parse_precision
from thoth_watch.domain.file_options import FileOptions, Rule, matches, resolve_file_options
from thoth_watch.domain.naming import (
    MAX_NAME_BYTES,
    candidate_archive_paths,
    candidate_names,
    language_in_name,
    truncate_to_bytes,
)

SHA = "0123456789abcdef" * 4


def test_the_stem_comes_first_then_the_full_name_then_an_alternate():
    names = list(
        candidate_names(Path("/in/a.mp3"), pattern="{stem}.{format}", sha256=SHA, language="en")
    )

    assert names[:4] == [
        ("a.{format}", "stem"),
        ("a.mp3.{format}", "full"),
        ("a.thoth-01234567.{format}", "alternate"),
        ("a.thoth-01234567-2.{format}", "alternate"),
    ]
    assert len(set(names)) == len(names) == 10


def test_an_archived_recording_keeps_its_path_or_gets_an_alternate_name():
    names = [str(name) for name in candidate_archive_paths(PurePath("sub/a.mp3"), SHA)]

    assert names[:3] == ["sub/a.mp3", "sub/a.thoth-01234567.mp3", "sub/a.thoth-01234567-2.mp3"]
    long = list(candidate_archive_paths(PurePath("ä" * 126 + ".mp3"), SHA))[-1]
    assert long.suffix == ".mp3"
    assert len(str(long).encode()) <= MAX_NAME_BYTES


@given(
    stem=st.text(
        st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=300
    )
)
def test_no_name_is_too_long_for_a_file_system(stem: str):
    for base, _ in candidate_names(
        Path("/in") / f"{stem}.wav",
        pattern="{stem}.{language}.{format}",
        sha256=SHA,
        language="yue",
    ):
        name = base.replace("{format}", "json")
        assert len(name.encode("utf-8", "surrogateescape")) <= MAX_NAME_BYTES


def test_the_language_is_that_of_the_text():
    def first(language: str, task: str) -> str:
        names = candidate_names(
            Path("/in/a.mp3"),
            pattern="{stem}.{language}.{format}",
            sha256=SHA,
            language=language_in_name(language, task),
        )
        return next(names)[0]

    assert first("de", "transcribe") == "a.de.{format}"
    assert first("de", "translate") == "a.en.{format}"
    assert first("", "transcribe") == "a.und.{format}"  # no speech was found


def test_a_long_name_is_cut_between_characters():
    assert truncate_to_bytes("äöü", 5) == "äö"
    assert truncate_to_bytes("abc", 5) == "abc"
    assert truncate_to_bytes("caf\udce9.wav", 5) == "caf\udce9."  # an undecodable byte is preserved


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("fr/**", "fr/a.wav", True),
        ("fr/**", "fr/deep/er/a.wav", True),
        ("fr/**", "de/fr/a.wav", False),
        ("**/fr/**", "de/fr/a.wav", True),
        ("**/*.mp3", "a.mp3", True),
        ("*.mp3", "x/a.mp3", False),
        ("meetings/*.wav", "meetings/a.wav", True),
        ("meetings/*.wav", "meetings/b/a.wav", False),
        ("**", "any/thing.wav", True),
    ],
)
def test_a_glob_means_what_people_expect(pattern: str, path: str, expected: bool):
    assert matches(PurePath(path), pattern) is expected


def test_the_last_rule_that_matches_wins_key_by_key():
    rules = (
        Rule("fr/**", (("language", "fr"), ("priority", 1))),
        Rule("fr/en/**", (("language", "en"),)),
    )

    file_options = resolve_file_options(PurePath("fr/en/a.wav"), default=FileOptions(), rules=rules)

    assert (file_options.language, file_options.priority) == ("en", 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("auto", ("auto", "auto")),
        ("fp16", ("float16", "float16")),
        ("bf16+int8", ("bfloat16", "int8")),
        (" BF16 + fp32 ", ("bfloat16", "float32")),
        ("no", ("float32", "float32")),
    ],
)
def test_precision_accepts_all_common_names(text: str, expected: tuple[str, str]):
    assert parse_precision(text) == expected


@pytest.mark.parametrize("text", ["", "fp8", "auto+int8", "int8+int8+int8", "+"])
def test_an_unknown_precision_is_refused(text: str):
    with pytest.raises(ValueError, match="precision"):
        parse_precision(text)


@pytest.mark.parametrize(
    "wrong", [{"engine_type": "fast"}, {"batch_size": 0}, {"task": "sing"}, {"fallback": "maybe"}]
)
def test_an_invalid_engine_is_refused_with_the_allowed_values(wrong: dict[str, object]):
    with pytest.raises(ValueError, match="use"):
        TranscriptionEngineConfig(**wrong)  # type: ignore[arg-type]
