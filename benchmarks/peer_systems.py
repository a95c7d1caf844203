"""Other programs in their fastest CPU setup: greedy, no fallback, no speech detection, samples given."""

from __future__ import annotations

import ctypes
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

RATE_HZ = 16_000
WINDOW_SAMPLES = 480_000  # 30 s
WINDOWS_PER_BATCH = 8  # like this program's batch_size
POSITIONS_PER_S = 50
TRAILING_SILENCE_POSITIONS = 25  # after the audio, like this program's trimmed windows
PROMPT = [50258, 50259, 50359, 50363]  # start, English, transcribe, no timestamps

TranscribeResult = tuple[list[str], dict[str, float]]


def read_samples(file: Path) -> Any:
    """Read a 16 kHz mono file as float32."""
    import soundfile

    return soundfile.read(file, dtype="float32")[0]


class Peer:
    """Base class of the other programs."""

    device, on_gpu = "cpu", False
    batch_size = 1

    def __init__(self, precision: str, *, n_tokens: int) -> None:
        self.precision, self._n_tokens = precision, n_tokens

    def transcribe_samples(self, samples: Any) -> str:
        """Return the text of one recording."""
        raise NotImplementedError

    def transcribe(self, files: Sequence[Path]) -> TranscribeResult:
        """Return the text of each file and no stage seconds."""
        return [self.transcribe_samples(read_samples(file)) for file in files], {}


class FasterWhisper(Peer):
    """faster-whisper, file by file; batched: the windows of a file share forward passes."""

    def __init__(
        self, model: str, precision: str, *, n_tokens: int, threads: int, batched: bool = False
    ) -> None:
        super().__init__(precision, n_tokens=n_tokens)
        from faster_whisper import BatchedInferencePipeline, WhisperModel

        self._model = WhisperModel(
            model, device="cpu", compute_type=precision, cpu_threads=threads, num_workers=1
        )
        self._batched = BatchedInferencePipeline(self._model) if batched else None
        self._options: dict[str, Any] = {
            "language": "en",
            "beam_size": 1,
            "best_of": 1,
            "temperature": [0.0],
            "without_timestamps": True,
            "max_new_tokens": 2 * n_tokens
            - len(PROMPT),  # faster-whisper adds the prompt and halves the sum
            "compression_ratio_threshold": None,
            "log_prob_threshold": None,
            "no_speech_threshold": None,
            "vad_filter": False,
        }

    def transcribe_samples(self, samples: Any) -> str:
        """Return the text of one recording."""
        if self._batched is None:
            segments, _ = self._model.transcribe(
                samples, condition_on_previous_text=False, **self._options
            )
        else:
            clips = [
                {"start": at / RATE_HZ, "end": min(at + WINDOW_SAMPLES, len(samples)) / RATE_HZ}
                for at in range(0, len(samples), WINDOW_SAMPLES)
            ]
            segments, _ = self._batched.transcribe(
                samples, batch_size=WINDOWS_PER_BATCH, clip_timestamps=clips, **self._options
            )
        return " ".join(segment.text for segment in segments)


class CTranslate2AcrossFiles(Peer):
    """CTranslate2 as in faster-whisper, but with windows of several files in each forward pass."""

    def __init__(
        self, model: str, checkpoint: str, precision: str, *, n_tokens: int, threads: int
    ) -> None:
        super().__init__(precision, n_tokens=n_tokens)
        import ctranslate2
        from transformers import AutoTokenizer, WhisperFeatureExtractor

        self._model = ctranslate2.models.Whisper(
            model, device="cpu", compute_type=precision, intra_threads=threads, inter_threads=1
        )
        self._extractor = WhisperFeatureExtractor.from_pretrained(checkpoint)
        self._tokenizer = AutoTokenizer.from_pretrained(checkpoint)

    def transcribe(self, files: Sequence[Path]) -> TranscribeResult:
        """Return the text of each file and no stage seconds."""
        import ctranslate2

        texts = [""] * len(files)
        windows = list(self._windows(files))
        for first in range(0, len(windows), WINDOWS_PER_BATCH):
            batch = windows[first : first + WINDOWS_PER_BATCH]
            features = self._extractor(
                [window for _, window in batch], sampling_rate=RATE_HZ, return_tensors="np"
            ).input_features
            hidden = self._model.encode(ctranslate2.StorageView.from_array(features))
            found = self._model.generate(
                hidden, [PROMPT] * len(batch), beam_size=1, max_length=2 * self._n_tokens
            )
            for (number, _), result in zip(batch, found, strict=True):
                texts[number] += self._tokenizer.decode(result.sequences_ids[0])
        return texts, {}

    @staticmethod
    def _windows(files: Sequence[Path]) -> Iterator[tuple[int, Any]]:
        for number, file in enumerate(files):
            samples = read_samples(file)
            for at in range(0, len(samples), WINDOW_SAMPLES):
                yield number, samples[at : at + WINDOW_SAMPLES]


class OpenAIWhisper(Peer):
    """openai/whisper."""

    def __init__(self, model: str, *, n_tokens: int) -> None:
        super().__init__("float32", n_tokens=n_tokens)
        import whisper

        self._model = whisper.load_model(model, device="cpu")

    def transcribe_samples(self, samples: Any) -> str:
        """Return the text of one recording."""
        found = self._model.transcribe(
            samples,
            language="en",
            temperature=0,
            without_timestamps=True,
            sample_len=self._n_tokens,
            condition_on_previous_text=False,
            fp16=False,
            compression_ratio_threshold=None,
            logprob_threshold=None,
            no_speech_threshold=None,
        )
        tokens = [token for segment in found["segments"] for token in segment["tokens"]]
        # One word per token, so that the number of words shows equal work.
        return " ".join(f"w{token}" for token in tokens)


class WhisperCpp(Peer):
    """whisper.cpp, built for this processor; trims: `audio_ctx` is set to the recording's length."""

    def __init__(
        self, model: str, precision: str, *, n_tokens: int, threads: int, trims: bool = False
    ) -> None:
        super().__init__(precision, n_tokens=n_tokens)
        _load_libraries()
        from pywhispercpp.model import Model

        self._trims = trims
        self._model = Model(
            model,
            redirect_whispercpp_logs_to=None,
            n_threads=threads,
            language="en",
            print_progress=False,
            no_timestamps=True,
            single_segment=True,
            max_tokens=n_tokens - 1,  # whisper.cpp generates one more
            temperature_inc=0.0,
            greedy={"best_of": 1},
        )

    def transcribe_samples(self, samples: Any) -> str:
        """Return the text of one recording."""
        options = {}
        if self._trims:
            positions = -(-len(samples) * POSITIONS_PER_S // RATE_HZ) + TRAILING_SILENCE_POSITIONS
            options["audio_ctx"] = min(1500, positions)
        return " ".join(segment.text for segment in self._model.transcribe(samples, **options))


def _load_libraries() -> None:
    """Load the libraries next to pywhispercpp: a build from source does not record their path."""
    site = Path(sysconfig.get_paths()["purelib"])
    for name in ("libggml-base.so", "libggml-cpu.so", "libggml.so", "libwhisper.so"):
        if (site / name).exists():
            ctypes.CDLL(str(site / name), mode=ctypes.RTLD_GLOBAL)
