"""Validators of single values; an error names the allowed values and the nearest spelling."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BeforeValidator

from thoth_watch.domain.audio import SAMPLE_RATE_HZ
from thoth_watch.domain.engine import parse_precision
from thoth_watch.domain.file_options import FORMATS
from thoth_watch.domain.quiet_hours import parse_span
from thoth_watch.domain.speech import Vad
from thoth_watch.infrastructure.settings.languages import language_code

MAX_ENGINES = 64
LEAVE = "leave"  # value of `after`: finished recordings stay
MIXED_PRECISION = {"no": "float32", "fp16": "float16", "bf16": "bfloat16"}  # accelerate's names


class NotAllowedError(ValueError):
    """A value is not allowed for its key; the message names the allowed values."""


def did_you_mean(text: str, allowed: Iterable[str]) -> str:
    """Return `; did you mean X?`, or nothing if no spelling is similar."""
    similar = difflib.get_close_matches(text, list(allowed), n=1)
    return f"; did you mean {similar[0]}?" if similar else ""


def one_of(*allowed: str) -> BeforeValidator:
    """Return a validator for one of these values, case-insensitive."""

    def check(value: object) -> str:
        text = value.strip().lower() if isinstance(value, str) else None
        if text not in allowed:
            hint = did_you_mean(text, allowed) if text else ""
            raise NotAllowedError(f"allowed: {', '.join(allowed)}{hint}")
        return text

    return BeforeValidator(check)


def check_text(value: object) -> str:
    """Check that a value is text that is not empty."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise NotAllowedError("allowed: text (in quotes if it looks like a number or a boolean)")
    return value


def check_optional_text(value: object) -> str | None:
    """Check that a value is text or null."""
    return None if value is None else check_text(value)


def check_weights_sha256(value: object) -> str | None:
    """Check that a value is a hash in hex digits or null; remove the prefix `sha256:`."""
    if value is None:
        return None
    digits = check_text(value).strip().lower().removeprefix("sha256:")
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise NotAllowedError(
            "allowed: null, or 64 hex digits (`thoth-watch model check` prints them)"
        )
    return digits


def check_webhook(value: object) -> str | None:
    """Check that a value is the URL of a web server or null."""
    if value is None:
        return None
    url = check_text(value)
    if not url.startswith(("https://", "http://")):
        raise NotAllowedError("allowed: null, or a URL that begins with https:// or http://")
    return url


def check_path(value: object) -> Path:
    """Convert text that is not empty to a path, which may still be relative."""
    return Path(check_text(value))


def check_after(value: object) -> Path | None:
    """Convert the folder for finished recordings to a path; `leave` becomes None."""
    text = check_text(value)
    return None if text.strip() == LEAVE else Path(text)


def check_text_list(value: object) -> tuple[str, ...]:
    """Convert a list of texts, or a single text, to a tuple without duplicates."""
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list):
        raise NotAllowedError("allowed: a list of texts, such as [a, b]")
    return tuple(dict.fromkeys(check_text(item) for item in items))


def list_of(*allowed: str, all_keyword: str | None = None) -> BeforeValidator:
    """Return a validator for a list of these values; `all_keyword` selects all of them."""

    def check(value: object) -> tuple[str, ...]:
        if all_keyword is not None and value in (all_keyword, [all_keyword]):
            return allowed
        items = tuple(item.strip().lower() for item in check_text_list(value))
        for item in items:
            if item not in allowed:
                keyword_hint = f", or {all_keyword}" if all_keyword else ""
                hint = did_you_mean(item, allowed)
                raise NotAllowedError(
                    f"{item!r} is not allowed; allowed: {', '.join(allowed)}{keyword_hint}{hint}"
                )
        if all_keyword is not None and not items:
            raise NotAllowedError(
                f"allowed: at least one of {', '.join(allowed)}, or {all_keyword}"
            )
        return items

    return BeforeValidator(check)


def check_extensions(value: object) -> tuple[str, ...]:
    """Convert file name extensions to lower case, without dot."""
    items = tuple(
        dict.fromkeys(item.strip().lower().lstrip(".") for item in check_text_list(value))
    )
    transcript_formats = [item for item in items if item in FORMATS]
    if not items or "" in items or any("/" in item for item in items):
        raise NotAllowedError("allowed: a list of file name extensions, such as [wav, mp3]")
    if transcript_formats:
        raise NotAllowedError(
            f"{', '.join(transcript_formats)}: transcripts have this extension; remove it"
        )
    return items


def check_language(value: object) -> str | None:
    """Convert a language to Whisper's code; None: it is detected."""
    if value is None or (
        isinstance(value, str) and value.strip().lower() in ("auto", "none", "null")
    ):
        return None
    if value is False:  # YAML 1.1 reads an unquoted `no` (Norwegian) as false
        return "no"
    if not isinstance(value, str):
        raise NotAllowedError("allowed: null or auto, a code such as en, or an English name")
    return language_code(value)


def check_precision(value: object) -> str:
    """Convert a precision to the names of the domain."""
    text = "no" if value is False else value  # YAML 1.1 reads no as false
    if not isinstance(text, str):
        raise NotAllowedError("allowed: auto, float32, float16, bfloat16, int8, or two joined by +")
    try:
        encoder, decoder = parse_precision(text)
    except ValueError as error:
        allowed = str(error).partition(": use ")[2]
        raise NotAllowedError(f"allowed: {allowed}") from None
    return encoder if encoder == decoder else f"{encoder}+{decoder}"


def check_mixed_precision(value: object) -> str | None:
    """Check that a value is one of accelerate's precision names or null."""
    name = "no" if value is False else value.strip().lower() if isinstance(value, str) else value
    if name is None or (isinstance(name, str) and name in MIXED_PRECISION):
        return name
    raise NotAllowedError(f"allowed: null, {', '.join(MIXED_PRECISION)}")


def check_devices(value: object) -> tuple[str, ...] | None:
    """Convert to a tuple with one device per engine, possibly repeated; [auto] means all GPUs."""
    if value in (None, "null"):
        return None
    text = value.strip().lower() if isinstance(value, str) else ""
    if text == "auto":
        return ("auto",)
    if several := re.fullmatch(r"([a-z]+(?::\d+)?)\s*x\s*(\d+)", text):
        device, count = several[1], int(several[2])
        if 1 <= count <= MAX_ENGINES:
            return (device,) * count
    elif isinstance(value, list) and 1 <= len(value) <= MAX_ENGINES:
        names = tuple(item.strip().lower() for item in value if isinstance(item, str))
        if len(names) == len(value) and all(re.fullmatch(r"[a-z]+(:\d+)?", n) for n in names):
            return names
    raise NotAllowedError("allowed: null, auto, a list such as [cuda:0, cuda:1], or cpu x 4")


def check_vad(value: object) -> str:
    """Check the mode of voice activity detection."""
    mode = {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value
    if isinstance(mode, str) and mode.strip().lower() in tuple(Vad):  # YAML 1.1 reads on as true
        return mode.strip().lower()
    raise NotAllowedError(f"allowed: {', '.join(Vad)}")


def check_seconds_or_auto(value: object) -> float | None:
    """Check that a value is seconds from 0 up, or auto, which becomes None."""
    if isinstance(value, str) and value.strip().lower() == "auto":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise NotAllowedError("allowed: auto, or seconds, 0 or more")
    return float(value)


def check_count_or_auto(value: object) -> int | None:
    """Check that a value is a count, or auto, which becomes None."""
    if isinstance(value, str) and value.strip().lower() == "auto":
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1_000_000:
        raise NotAllowedError("allowed: auto, or a whole number, 1 or more")
    return value


def check_audio_seconds_or_auto(value: object) -> float | None:
    """Check that a value is seconds above 0, or auto, which becomes None."""
    if isinstance(value, str) and value.strip().lower() == "auto":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1e9:
        raise NotAllowedError("allowed: auto, or seconds above 0")
    return float(value)


def check_optional_seconds(value: object) -> float | None:
    """Check that a value is seconds above 0, or null (no limit)."""
    if value in (None, "null"):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        raise NotAllowedError("allowed: null, or seconds above 0")
    return float(value)


def check_quiet_hours(value: object) -> tuple[str, ...]:
    """Check a list of times of day."""
    spans = check_text_list(value)
    for text in spans:
        try:
            parse_span(text)
        except ValueError as error:
            raise NotAllowedError(
                f'{error}; allowed: a list of spans in quotes, such as ["22:00-07:00"]'
            ) from None
    return spans


def check_temperatures(value: object) -> tuple[float, ...]:
    """Convert one temperature or several, each from 0 to 1, to a tuple."""
    items: list[Any] = value if isinstance(value, list) else [value]
    try:
        temperatures = tuple(float(item) for item in items if not isinstance(item, bool))
    except (TypeError, ValueError):
        temperatures = ()
    if (
        not temperatures
        or len(temperatures) < len(items)
        or not all(0 <= item <= 1 for item in temperatures)
    ):
        raise NotAllowedError("allowed: a number from 0 to 1, or a list of them, tried in turn")
    return temperatures


def check_tokens(value: object) -> tuple[int, ...] | None:
    """Convert one token id or several to a tuple; None stays."""
    if value is None or value in ("null", ["null"]):
        return None
    items: list[Any] = value if isinstance(value, list) else [value]
    try:
        return tuple(int(item) for item in items if not isinstance(item, bool))
    except (TypeError, ValueError):
        raise NotAllowedError("allowed: null, or a list of token ids, such as [50, 51]") from None


def check_threshold(value: object) -> float | None:
    """Check that a value is a number, or null, which disables the threshold."""
    if value is None or (isinstance(value, str) and value.strip().lower() in ("null", "none")):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise NotAllowedError("allowed: null, or a number")
    return float(value)


def check_sample_rate(value: object) -> int:
    """Check that a value is Whisper's sample rate."""
    if value != SAMPLE_RATE_HZ or isinstance(value, bool):
        raise NotAllowedError(f"allowed: {SAMPLE_RATE_HZ}, the only rate Whisper supports")
    return SAMPLE_RATE_HZ


def check_sentinel(value: object) -> str | None:
    """Check that a value is a file name suffix with its dot, or null."""
    if value in (None, "null"):
        return None
    text = check_text(value)
    if not re.fullmatch(r"\.[\w.-]*\w", text) or text.rpartition(".")[2].lower() in FORMATS:
        raise NotAllowedError("allowed: null, or a file name suffix with its dot, such as .ready")
    return text


def check_name(value: object) -> str:
    """Check that a name contains {stem} and {format}, so that transcripts have different names."""
    text = check_text(value)
    rest = text.replace("{stem}", "").replace("{format}", "").replace("{language}", "")
    if "{stem}" not in text or "{format}" not in text or any(c in rest for c in "{}/\n"):
        raise NotAllowedError(
            'allowed: a file name that contains {stem} and {format}, such as "{stem}.{format}"'
            ' or "{stem}.{language}.{format}"'
        )
    return text


def check_match(value: object) -> str:
    """Check that a glob can match a path below the inbox."""
    text = check_text(value)
    if text.startswith("/") or ".." in text.split("/"):
        raise NotAllowedError('allowed: a glob on the path below the inbox, such as "fr/**"')
    if text.endswith("/"):
        raise NotAllowedError(
            f'matches folders instead of files; for all files in the folder use "{text}**"'
        )
    return text


def check_ledger_url(value: object) -> str:
    """Check that a value is the URL of a persistent ledger."""
    text = check_text(value)
    scheme, separator, rest = text.partition("://")
    if not separator or scheme.split("+")[0] not in ("sqlite", "postgresql") or not rest:
        raise NotAllowedError("allowed: sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME")
    if scheme.startswith("sqlite") and (
        not rest.startswith("/") or rest.strip("/") in ("", ":memory:")
    ):
        raise NotAllowedError("allowed: sqlite:///FILE (a ledger in memory is lost on exit)")
    return text


def check_broker(value: object) -> str | None:
    """Check that a value is the URL of a broker or null."""
    return _check_url(
        value, ("redis", "rediss", "amqp", "amqps"), "redis://HOST/0 or amqp://USER@HOST//"
    )


def check_cache_url(value: object) -> str | None:
    """Check that a value is the URL of a Redis server or null."""
    return _check_url(value, ("redis", "rediss"), "redis://HOST/1")


def _check_url(value: object, schemes: tuple[str, ...], example: str) -> str | None:
    if value in (None, "null"):
        return None
    text = check_text(value)
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in schemes or not rest:
        raise NotAllowedError(f"allowed: null, or a URL such as {example}")
    return text
