"""Other programs, each at its best on a CPU: greedy, no second try, no search for speech, samples given."""

from __future__ import annotations

import ctypes
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

RATE_HZ = 16_000
WINDOW_SAMPLES = 480_000  # samples
WINDOWS_PER_BATCH = 8  # as this program's batch_size
POSITIONS_PER_S = 50
TRAILING_SILENCE_POSITIONS = (
    25  # positions after a recording's end that this program's trimmed windows have
)
PROMPT = [50258, 50259, 50359, 50363]  # start, English, transcribe, no timestamps

TranscribeResult = tuple[list[str], dict[str, float]]


def samples_of(file: Path) -> Any:
    """float32, 16 kHz mono."""
    import soundfile

    return soundfile.read(file, dtype="float32")[0]


class Peer:
    """What all of them have."""

    device, on_gpu = "cpu", False
    batch_size = 1

    def __init__(self, precision: str, *, n_tokens: int) -> None:
        self.precision, self._n_tokens = precision, n_tokens

    def transcribe_samples(self, samples: Any) -> str:
        """The text of one recording."""
        raise NotImplementedError

    def transcribe(self, files: Sequence[Path]) -> TranscribeResult:
        """See Way."""
        return [self.transcribe_samples(samples_of(file)) for file in files], {}


class FasterWhisper(Peer):
    """faster-whisper, file by file; batched: a file's windows together."""

    def __init__(
        self, model: str, precision: str, *, n_tokens: int, threads: int, batched: bool = False
    ) -> None:
        super().__init__(precision, n_tokens=n_tokens)
        from faster_whisper import BatchedInferencePipeline, WhisperModel

        self._model = WhisperModel(
            model, device="cpu", compute_type=precision, cpu_threads=threads, num_workers=1
        )
        self._batched = BatchedInferencePipeline(self._model) if batched else None
        self._how: dict[str, Any] = {
            "language": "en",
            "beam_size": 1,
            "best_of": 1,
            "temperature": [0.0],
            "without_timestamps": True,
            "max_new_tokens": 2 * n_tokens - len(PROMPT),  # it counts the prompt, and halves it
            "compression_ratio_threshold": None,
            "log_prob_threshold": None,
            "no_speech_threshold": None,
            "vad_filter": False,
        }

    def transcribe_samples(self, samples: Any) -> str:
        """See Peer."""
        if self._batched is None:
            segments, _ = self._model.transcribe(
                samples, condition_on_previous_text=False, **self._how
            )
        else:
            clips = [
                {"start": at / RATE_HZ, "end": min(at + WINDOW_SAMPLES, len(samples)) / RATE_HZ}
                for at in range(0, len(samples), WINDOW_SAMPLES)
            ]
            segments, _ = self._batched.transcribe(
                samples, batch_size=WINDOWS_PER_BATCH, clip_timestamps=clips, **self._how
            )
        return " ".join(segment.text for segment in segments)


class CTranslate2AcrossFiles(Peer):
    """CTranslate2 as faster-whisper uses it, but with windows of all files in each forward pass, by hand."""

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
        """See Way."""
        import ctranslate2

        texts = [""] * len(files)
        windows = list(self._windows(files))
        for first in range(0, len(windows), WINDOWS_PER_BATCH):
            part = windows[first : first + WINDOWS_PER_BATCH]
            features = self._extractor(
                [window for _, window in part], sampling_rate=RATE_HZ, return_tensors="np"
            ).input_features
            hidden = self._model.encode(ctranslate2.StorageView.from_array(features))
            found = self._model.generate(
                hidden, [PROMPT] * len(part), beam_size=1, max_length=2 * self._n_tokens
            )
            for (number, _), result in zip(part, found, strict=True):
                texts[number] += self._tokenizer.decode(result.sequences_ids[0])
        return texts, {}

    @staticmethod
    def _windows(files: Sequence[Path]) -> Iterator[tuple[int, Any]]:
        for number, file in enumerate(files):
            samples = samples_of(file)
            for at in range(0, len(samples), WINDOW_SAMPLES):
                yield number, samples[at : at + WINDOW_SAMPLES]


class OpenAIWhisper(Peer):
    """openai/whisper."""

    def __init__(self, model: str, *, n_tokens: int) -> None:
        super().__init__("float32", n_tokens=n_tokens)
        import whisper

        self._model = whisper.load_model(model, device="cpu")

    def transcribe_samples(self, samples: Any) -> str:
        """See Peer."""
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
        return " ".join(f"w{token}" for token in tokens)  # its own texts of them would be no words


class WhisperCpp(Peer):
    """whisper.cpp, built for this processor; trims: its `audio_ctx` is the recording's own length."""

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
            max_tokens=n_tokens - 1,  # it stops after the one at which it looks
            temperature_inc=0.0,
            greedy={"best_of": 1},
        )

    def transcribe_samples(self, samples: Any) -> str:
        """See Peer."""
        how = {}
        if self._trims:
            positions = -(-len(samples) * POSITIONS_PER_S // RATE_HZ) + TRAILING_SILENCE_POSITIONS
            how["audio_ctx"] = min(1500, positions)
        return " ".join(segment.text for segment in self._model.transcribe(samples, **how))


def _load_libraries() -> None:
    """A pywhispercpp that was built from source does not say where its libraries lie: beside itself."""
    site = Path(sysconfig.get_paths()["purelib"])
    for name in ("libggml-base.so", "libggml-cpu.so", "libggml.so", "libwhisper.so"):
        if (site / name).exists():
            ctypes.CDLL(str(site / name), mode=ctypes.RTLD_GLOBAL)
