"""Write recordings for the tests: a 440 Hz tone in any format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

TONE_HZ = 440.0
SECONDS = 3.0


def tone(rate_hz: int, *, seconds: float = SECONDS, amplitude: float = 0.5) -> NDArray[np.float32]:
    times = np.arange(round(rate_hz * seconds)) / rate_hz
    return (amplitude * np.sin(2 * np.pi * TONE_HZ * times)).astype(np.float32)


def noise(rate_hz: int, *, seconds: float = SECONDS) -> NDArray[np.float32]:
    generator = np.random.default_rng(7)
    return generator.uniform(-0.5, 0.5, round(rate_hz * seconds)).astype(np.float32)


def write_with_soundfile(
    path: Path, samples: NDArray[np.float32], rate_hz: int, *, subtype: str | None = None
) -> Path:
    kind = {"opus": "OGG", "oga": "OGG", "aif": "AIFF"}.get(path.suffix[1:])
    soundfile.write(path, samples, rate_hz, format=kind, subtype=subtype)
    return path


def write_with_av(
    path: Path,
    samples: NDArray[np.float32],
    rate_hz: int,
    *,
    codec: str,
    container: str | None = None,
    options: dict[str, str] | None = None,
    global_quality: int | None = None,
) -> Path:
    """Encode mono audio; skip the test if FFmpeg was built without that encoder."""
    try:
        av.codec.Codec(codec, "w")
    except av.codec.UnknownCodecError:
        pytest.skip(f"this FFmpeg has no {codec} encoder")
    with av.open(str(path), "w", format=container, options=options or {}) as output:
        stream: Any = output.add_stream(codec, rate=rate_hz, layout="mono")
        if global_quality is None:
            stream.bit_rate = 12_200 if rate_hz == 8_000 else 64_000
        else:
            stream.codec_context.qscale = True
            stream.codec_context.global_quality = global_quality
        stream.codec_context.open()
        frame = av.AudioFrame.from_ndarray(
            (samples[None] * 32_767).astype(np.int16), format="s16", layout="mono"
        )
        frame.sample_rate = rate_hz
        resampler = av.AudioResampler(
            format=stream.codec_context.format,
            layout="mono",
            rate=rate_hz,
            frame_size=stream.codec_context.frame_size,
        )
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            output.mux(stream.encode(part))
        output.mux(stream.encode(None))
    return path


def write_silent_video(path: Path) -> Path:
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(5):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def loudest_hz(samples: NDArray[np.float32], rate_hz: int = 16_000) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * rate_hz / len(samples))


def truncate(path: Path, *, share: float = 0.5) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path
