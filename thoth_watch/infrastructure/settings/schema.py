"""The schema of config.yaml: every key, its type and its default."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from thoth_watch.domain.audio import AUDIO_EXTENSIONS, AudioConfig
from thoth_watch.domain.batching import GROUP_KEYS, BatchPolicy, Order
from thoth_watch.domain.channels import Channels
from thoth_watch.domain.decoding import DecodingOptions, LongForm
from thoth_watch.domain.engine import (
    AudioContext,
    EngineType,
    FallbackPolicy,
    Task,
    TranscriptionEngineConfig,
)
from thoth_watch.domain.file_options import FORMATS, FileOptions
from thoth_watch.domain.speakers import DiarizationConfig
from thoth_watch.domain.subtitles import SubtitleLayout
from thoth_watch.infrastructure.settings.validators import (
    check_after,
    check_audio_seconds_or_auto,
    check_broker,
    check_cache_url,
    check_count_or_auto,
    check_devices,
    check_extensions,
    check_language,
    check_ledger_url,
    check_match,
    check_mixed_precision,
    check_name,
    check_optional_seconds,
    check_optional_text,
    check_path,
    check_precision,
    check_quiet_hours,
    check_sample_rate,
    check_seconds_or_auto,
    check_sentinel,
    check_temperatures,
    check_text,
    check_text_list,
    check_threshold,
    check_tokens,
    check_vad,
    check_webhook,
    check_weights_sha256,
    list_of,
    one_of,
)

CELERY = "celery"
DEFAULT_LEDGER_URL = "sqlite:///thoth-watch.db"

_AUDIO = AudioConfig()
_BATCH = BatchPolicy()
_ENGINE = TranscriptionEngineConfig()
_DECODING = DecodingOptions()
_FILE_OPTIONS = FileOptions()
_LAYOUT = SubtitleLayout()
_DIARIZATION = DiarizationConfig()


Text = Annotated[str, BeforeValidator(check_text)]
Folder = Annotated[Path, BeforeValidator(check_path)]
Language = Annotated[str | None, BeforeValidator(check_language)]
Formats = Annotated[tuple[str, ...], list_of(*FORMATS, all_keyword="all")]
OptionalText = Annotated[str | None, BeforeValidator(check_optional_text)]
Threshold = Annotated[float | None, BeforeValidator(check_threshold)]
Count = Annotated[int, Field(ge=1, le=100)]
Texts = Annotated[tuple[str, ...], BeforeValidator(check_text_list)]
Name = Annotated[str, BeforeValidator(check_name)]
TaskName = Annotated[str, one_of(*Task)]
ChannelsMode = Annotated[str, one_of(*Channels)]
VadMode = Annotated[str, BeforeValidator(check_vad)]
Seconds = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
PositiveSeconds = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]


class Section(BaseModel):
    """A mapping in the file, frozen; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class InboxSettings(Section):
    """The `inbox:` section: a folder to watch."""

    path: Folder = Path("inbox")  # absolute after loading
    recursive: bool = True
    settle_s: Seconds = 2.0
    watcher: Annotated[str, one_of("auto", "inotify", "polling")] = "auto"
    rescan_s: PositiveSeconds = 60.0
    extensions: Annotated[tuple[str, ...], BeforeValidator(check_extensions)] = AUDIO_EXTENSIONS
    ignore: Texts = ()  # globs on names, in addition to the built-in ones
    sentinel: Annotated[str | None, BeforeValidator(check_sentinel)] = None
    after: Annotated[Path | None, BeforeValidator(check_after)] = None  # absolute; None: they stay


class ListedInbox(InboxSettings):
    """One item of `inboxes:`; its path is required."""

    path: Folder


class AudioSection(Section):
    """The `audio:` section."""

    sample_rate: Annotated[int, BeforeValidator(check_sample_rate)] = _AUDIO.sample_rate
    buffer_duration: Annotated[float, Field(gt=0, le=600, allow_inf_nan=False)] = (
        _AUDIO.buffer_duration
    )
    channels: ChannelsMode = _FILE_OPTIONS.channels


class BatchSection(Section):
    """The `batch:` section."""

    max_files: Annotated[int | None, BeforeValidator(check_count_or_auto)] = _BATCH.max_files
    max_audio_s: Annotated[float | None, BeforeValidator(check_audio_seconds_or_auto)] = (
        _BATCH.max_audio_s
    )
    max_wait_s: Annotated[float | None, BeforeValidator(check_seconds_or_auto)] = _BATCH.max_wait_s
    group_by: Annotated[tuple[str, ...], list_of(*GROUP_KEYS)] = _BATCH.group_by
    order: Annotated[str, one_of(*Order)] = str(_BATCH.order)
    max_batch_s: Annotated[float | None, BeforeValidator(check_optional_seconds)] = (
        _BATCH.max_batch_s
    )
    quiet_hours: Annotated[tuple[str, ...], BeforeValidator(check_quiet_hours)] = ()


class EngineSection(Section):
    """The `engine:` section."""

    engine_type: Annotated[str, one_of(*EngineType)] = _ENGINE.engine_type
    model: Text = _ENGINE.model
    revision: OptionalText = None
    weights_sha256: Annotated[str | None, BeforeValidator(check_weights_sha256)] = None
    device: Text = _ENGINE.device
    devices: Annotated[tuple[str, ...] | None, BeforeValidator(check_devices)] = None
    batch_size: Annotated[int | None, BeforeValidator(check_count_or_auto)] = _ENGINE.batch_size
    enable_mixed_precision: bool = _ENGINE.enable_mixed_precision
    use_cache: bool = _ENGINE.use_cache
    precision: Annotated[str, BeforeValidator(check_precision)] = _ENGINE.precision
    audio_context: Annotated[str, one_of(*AudioContext)] = _ENGINE.audio_context
    idle_unload_s: Annotated[float | None, BeforeValidator(check_optional_seconds)] = None
    fallback: Annotated[str, one_of(*FallbackPolicy)] = _ENGINE.fallback
    language: Language = _ENGINE.language
    task: TaskName = _ENGINE.task
    vad: VadMode = _FILE_OPTIONS.vad


class DecodingSection(Section):
    """The `decoding:` section; names, meanings and defaults are openai/whisper's."""

    long_form: Annotated[str, one_of(*LongForm)] = _DECODING.long_form
    chunk_length: Annotated[float, Field(ge=1, le=30)] | None = _DECODING.chunk_length
    word_timestamps: bool = _DECODING.word_timestamps
    temperature: Annotated[tuple[float, ...], BeforeValidator(check_temperatures)] = (
        _DECODING.temperature
    )
    best_of: Count = _DECODING.best_of
    beam_size: Count = _DECODING.beam_size
    patience: Annotated[float, Field(gt=0, le=10)] = _DECODING.patience
    length_penalty: Threshold = _DECODING.length_penalty
    compression_ratio_threshold: Threshold = _DECODING.compression_ratio_threshold
    logprob_threshold: Threshold = _DECODING.logprob_threshold
    no_speech_threshold: Threshold = _DECODING.no_speech_threshold
    condition_on_previous_text: bool = _DECODING.condition_on_previous_text
    initial_prompt: OptionalText = _DECODING.initial_prompt
    carry_initial_prompt: bool = _DECODING.carry_initial_prompt
    hotwords: OptionalText = _DECODING.hotwords
    suppress_tokens: Annotated[tuple[int, ...] | None, BeforeValidator(check_tokens)] = None
    retry_suspect: bool = _DECODING.retry_suspect


class DiarizeSection(Section):
    """The `diarize:` section; names are whisperX's."""

    enabled: bool = _FILE_OPTIONS.diarize
    model: Text = _DIARIZATION.model
    revision: OptionalText = _DIARIZATION.revision
    min_speakers: int | None = Field(default=_DIARIZATION.min_speakers, ge=1, le=100)
    max_speakers: int | None = Field(default=_DIARIZATION.max_speakers, ge=1, le=100)


class PerformanceSection(Section):
    """The `performance:` section."""

    mixed_precision: Annotated[str | None, BeforeValidator(check_mixed_precision)] = None


class TranscriptSection(Section):
    """The `transcript:` section."""

    formats: Formats = _FILE_OPTIONS.formats
    output_dir: Text = _FILE_OPTIONS.output_dir
    name: Name = _FILE_OPTIONS.name
    max_line_width: int | None = Field(default=_LAYOUT.max_line_width, ge=8, le=1000)
    max_line_count: int | None = Field(default=_LAYOUT.max_line_count, ge=1, le=100)
    max_words_per_line: int | None = Field(default=_LAYOUT.max_words_per_line, ge=1, le=1000)
    highlight_words: bool = _LAYOUT.highlight_words
    reading_speed: Annotated[float | None, Field(gt=0, le=1000, allow_inf_nan=False)] = (
        _LAYOUT.reading_speed
    )


class LedgerSection(Section):
    """The `ledger:` section."""

    url: Annotated[str, BeforeValidator(check_ledger_url)] = DEFAULT_LEDGER_URL


class DispatchSettings(Section):
    """The `dispatch:` section: who processes the batches."""

    kind: Annotated[str, one_of("local", CELERY)] = "local"
    broker: Annotated[str | None, BeforeValidator(check_broker)] = None  # with its password
    # batches sent or running per live worker
    window_per_worker: int = Field(default=2, ge=1, le=1000)
    lease_s: Annotated[float, Field(ge=2, le=86_400, allow_inf_nan=False)] = 90.0
    # worker deaths after which a file is quarantined
    max_attempts: int = Field(default=3, ge=1, le=100)

    @property
    def is_celery(self) -> bool:
        """Return True if Celery workers process the batches."""
        return self.kind == CELERY


class CacheSettings(Section):
    """The `cache:` section: transcripts shared by machines without a common ledger."""

    url: Annotated[str | None, BeforeValidator(check_cache_url)] = None
    lifetime_s: PositiveSeconds = 2_592_000.0


class LogSection(Section):
    """The `log:` section."""

    level: Annotated[str, one_of("debug", "info", "warning", "error")] = "info"
    format: Annotated[str, one_of("text", "json")] = "text"


class HookSettings(Section):
    """The `hooks:` section: programs that are notified when files and runs end."""

    command: Texts = ()  # program and arguments; empty: none
    webhook: Annotated[str | None, BeforeValidator(check_webhook)] = None
    secret: OptionalText = None  # signs the webhook's body
    ends: Annotated[tuple[str, ...], list_of("done", "failed")] = ("done", "failed")
    timeout_s: PositiveSeconds = 30.0
    tries: int = Field(default=3, ge=1, le=20)


class RuleSection(Section):
    """One item of `rules:`; keys that it omits stay unchanged."""

    match: Annotated[str, BeforeValidator(check_match)]
    language: Language = None
    task: TaskName = ""
    model: Text = ""
    prompt: OptionalText = None
    formats: Formats = ()
    output_dir: Text = ""
    name: Name = ""
    channels: ChannelsMode = ""
    vad: VadMode = ""
    diarize: bool = False
    priority: int = Field(default=0, ge=-1_000_000, le=1_000_000)


class Document(Section):
    """The whole file."""

    inbox: InboxSettings = InboxSettings()
    inboxes: list[ListedInbox] | None = None
    audio: AudioSection = AudioSection()
    batch: BatchSection = BatchSection()
    engine: EngineSection = EngineSection()
    decoding: DecodingSection = DecodingSection()
    diarize: DiarizeSection = DiarizeSection()
    performance: PerformanceSection = PerformanceSection()
    transcript: TranscriptSection = TranscriptSection()
    ledger: LedgerSection = LedgerSection()
    dispatch: DispatchSettings = DispatchSettings()
    cache: CacheSettings = CacheSettings()
    rules: list[RuleSection] = []
    log: LogSection = LogSection()
    hooks: HookSettings = HookSettings()


@cache
def sections() -> dict[str, type[Section]]:
    """Return the sections that are mappings, by name; that excludes `inboxes` and `rules`."""
    fields = Document.model_fields.items()
    return {
        name: field.annotation
        for name, field in fields
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    }
