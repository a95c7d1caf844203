"""The trainer: a budget of audio, a curriculum, and checkpoints to resume from after a kill."""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.corpus import Corpus
from training.initialize import initialize
from training.losses import FrameHead, frame_loss, guide_loss, token_loss
from training.network import Network, Size
from training.optimizers import AdamW, Muon
from training.tokens import TokenIds
from training.windows import Batch, WindowMaker

FULL_WINDOW = 1500  # encoder positions: 30 s
MUON_RATE = 1.5
WARM_UP_STEPS = 60
# A rate that falls to zero fits the synthesizers more closely and real people less well.
FINAL_RATE_SHARE = 0.15
AVERAGED_STEPS = 400  # length of the running mean of the weights
# From this share of the audio on, the running mean is saved at this interval. The export is the mean of
# all saved means: compared to the last weights, it transcribes the training voices about as well and real
# people better.
SNAPSHOTS_FROM, SNAPSHOT_EVERY = 0.45, 0.05
FULL_WINDOW_SINGLE = 0.1  # share of 30 s windows with one utterance; short windows cover that case
PROGRESS_EVERY = 10


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the curriculum, up to a share of the audio budget.

    frames, batch: size of the short windows. full_share: share of steps on two full 30 s windows.
    strength: share of windows with full augmentation at the start and the end of the stage.
    single: share of short windows with one utterance only.
    """

    until: float
    frames: int
    batch: int
    full_share: float
    strength: tuple[float, float]
    single: float
    with_decoder: bool


STAGES = (
    Stage(0.08, 200, 8, 0.0, (0.0, 0.2), 0.5, with_decoder=False),
    Stage(0.26, 200, 8, 0.0, (0.2, 0.6), 0.5, with_decoder=True),
    Stage(0.42, 300, 8, 0.30, (0.6, 0.9), 0.5, with_decoder=True),
    Stage(0.62, 300, 8, 0.50, (0.9, 1.0), 0.5, with_decoder=True),
    Stage(1.01, 300, 8, 0.65, (1.0, 1.0), 0.5, with_decoder=True),
)
FULL_BATCH = 2
BASE_RATE = 1.5e-3
HOURS = 200.0


def stage_at(share: float) -> tuple[Stage, float]:
    """Return the stage at a share of the budget and its augmentation strength there."""
    started = 0.0
    for stage in STAGES:
        if share < stage.until:
            low, high = stage.strength
            return stage, low + (high - low) * (share - started) / (stage.until - started)
        started = stage.until
    return STAGES[-1], STAGES[-1].strength[1]


class Trainer:
    """The training state and loop, with save and resume."""

    def __init__(self, folder: Path, corpus_folder: Path, *, hours: float, seed: int) -> None:
        self.folder, self.hours, self.seed = folder, hours, seed
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        self.ids = TokenIds.read(folder / "tokenizer")
        self.network = Network(Size(self.ids.count))
        initialize(self.network, timestamp_zero=self.ids.timestamp_zero, seed=seed)
        self.network.to(self.device)
        self.head = FrameHead(self.network.size.width).to(self.device)
        self.corpus = Corpus(corpus_folder)
        self.windows = WindowMaker(self.corpus, self.ids, seed)
        self._draw = random.Random(seed + 1)
        self._optimizers = self._build_optimizers()
        self.average = {n: p.detach().clone() for n, p in self.network.state_dict().items()}
        self.step, self.elapsed_s, self.audio_s = 0, 0.0, 0.0
        self.history: list[dict[str, float]] = []

    def _build_optimizers(self) -> tuple[AdamW, Muon]:
        matrices = [
            p
            for name, p in self.network.named_parameters()
            if p.requires_grad and p.ndim == 2 and "layers" in name
        ]
        chosen = {id(p) for p in matrices}
        everything = [*self.network.parameters(), *self.head.parameters()]
        self._parameters = [p for p in everything if p.requires_grad]
        return AdamW([p for p in self._parameters if id(p) not in chosen]), Muon(matrices)

    @property
    def share(self) -> float:
        """Return the processed share of the audio budget."""
        return self.audio_s / 3600 / self.hours

    def _rate(self) -> float:
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, self.share)))
        rate = BASE_RATE * min(1.0, (self.step + 1) / WARM_UP_STEPS)
        return rate * (FINAL_RATE_SHARE + (1 - FINAL_RATE_SHARE) * cosine)

    def train_step(self) -> dict[str, float]:
        """Draw a batch and take one step; return the losses."""
        stage, strength = stage_at(self.share)
        rate = self._rate()
        full = self._draw.random() < stage.full_share
        frames = FULL_WINDOW if full else stage.frames
        size = FULL_BATCH if full else stage.batch
        # Half of the short windows are at the start, like trimmed ones; the others are anywhere, so that
        # all positions and timestamps are trained.
        offset = 0
        if not full and self._draw.random() < 0.5:
            offset = self._draw.randrange(FULL_WINDOW - frames)
        started = time.perf_counter()
        single = FULL_WINDOW_SINGLE if full else stage.single
        batch = self.windows.batch(size, frames, strength=strength, single=single)
        data_s = time.perf_counter() - started
        losses = self._losses(batch, offset, with_decoder=stage.with_decoder)
        losses["total"].backward()
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        adam, muon = self._optimizers
        adam.step(rate)
        muon.step(rate * MUON_RATE)
        for parameter in self._parameters:
            parameter.grad = None
        self.step += 1
        self._average()
        self.audio_s += size * frames / 50
        values = {name: float(value.detach()) for name, value in losses.items()}
        return {**values, "norm": float(norm), "rate": rate, "data_s": data_s}

    @torch.no_grad()
    def _average(self) -> None:
        share = 1 / min(AVERAGED_STEPS, self.step)
        means, weights = list(self.average.values()), list(self.network.state_dict().values())
        torch._foreach_lerp_(means, weights, share)

    def _losses(self, batch: Batch, offset: int, *, with_decoder: bool) -> dict[str, Tensor]:
        def put(array: np.ndarray) -> Tensor:
            return torch.from_numpy(array).to(self.device, non_blocking=True)

        tokens = put(batch.tokens)
        zero = self.ids.timestamp_zero
        tokens = torch.where(tokens >= zero, tokens + offset, tokens)
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            body = self.network.model
            hidden = body.encoder(put(batch.mel), offset)
            frame_logits = self.head(hidden)
            if with_decoder:
                logits = self.network.logits(body.decoder(tokens[:, :-1], hidden))
        frame = frame_loss(frame_logits, put(batch.phonemes), put(batch.words), put(batch.halves))
        report = {
            "phoneme": frame.phoneme.detach(),
            "word": frame.word.detach(),
            "half": frame.half.detach(),
            "word_accuracy": torch.tensor(frame.word_accuracy),
        }
        if not with_decoder:
            return {"total": frame.total, **report}
        targets, loss_weight, spans = tokens[:, 1:], put(batch.loss_weight)[:, 1:], put(batch.spans)
        token = token_loss(logits, targets, loss_weight, zero)
        # The first layer's attention is guided to the last token, the last layer's to the next one.
        layers = body.decoder.layers
        look_back = guide_loss(layers[0].encoder_attn, spans[:, :-1])
        look_ahead = guide_loss(layers[-1].encoder_attn, spans[:, 1:])
        is_text = (targets < self.ids.end) & (loss_weight > 0)
        accuracy = (logits.detach().argmax(-1) == targets)[is_text].float().mean()
        return {
            "total": token + 0.6 * frame.total + 0.3 * (look_back + look_ahead),
            "token": token.detach(),
            "text_accuracy": accuracy,
            "look_back": look_back.detach(),
            "look_ahead": look_ahead.detach(),
            **report,
        }

    def run(self, *, save_every_s: float = 180.0) -> None:
        """Train until the audio budget is used; SIGTERM saves and stops."""
        stopped: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, _frame: stopped.append(number))
        recent: list[dict[str, float]] = []
        last = saved_at = time.monotonic()
        while self.share < 1 and not stopped:
            recent.append(self.train_step())
            now = time.monotonic()
            self.elapsed_s, last = self.elapsed_s + now - last, now
            if len(recent) == PROGRESS_EVERY:
                self._report(recent)
                recent = []
            if now - saved_at > save_every_s:
                self.save()
                saved_at = now
        self.save()

    def _report(self, recent: list[dict[str, float]]) -> None:
        names = sorted({name for row in recent for name in row})
        mean = {n: float(np.nanmean([r[n] for r in recent if n in r])) for n in names}
        mean |= {"step": self.step, "minutes": self.elapsed_s / 60, "hours": self.audio_s / 3600}
        self.history.append(mean)
        shown = ("token", "text_accuracy", "word", "word_accuracy", "phoneme", "half")
        parts = [f"{n} {mean[n]:.3f}" for n in (*shown, "look_back", "look_ahead") if n in mean]
        print(
            f"{mean['minutes']:.1f} min, step {self.step}, {mean['hours']:.2f} h of audio:",
            *parts,
            f"norm {mean['norm']:.2f} rate {mean['rate']:.1e} data {mean['data_s'] * 1e3:.0f} ms",
            flush=True,
        )

    def save(self) -> None:
        """Write the checkpoint atomically, so that a kill at any time leaves a complete one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {
            "model": self.network.state_dict(),
            "average": self.average,
            "head": self.head.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "generators": (self.windows.state(), self._draw.getstate(), torch.get_rng_state()),
            "counters": (self.step, self.elapsed_s, self.audio_s),
        }
        partial = self.folder / "checkpoint.pt.part"
        torch.save(state, partial)
        partial.rename(self.folder / "checkpoint.pt")
        self._keep_mean()
        (self.folder / "history.json").write_text(json.dumps(self.history))

    def _keep_mean(self) -> None:
        number = int(min(1.0, self.share) / SNAPSHOT_EVERY + 1e-9)
        target = self.folder / "means" / f"{number:02d}.pt"
        if self.share >= SNAPSHOTS_FROM and not target.exists():
            target.parent.mkdir(exist_ok=True)
            partial = target.with_suffix(".part")
            torch.save({"average": self.average}, partial)
            partial.rename(target)

    def resume(self) -> bool:
        """Load the checkpoint; return False if there is none."""
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return False
        state = torch.load(path, map_location=self.device, weights_only=False)
        self.network.load_state_dict(state["model"])
        self.average = state["average"]
        self.head.load_state_dict(state["head"])
        adam, muon = self._optimizers
        adam_state, muon_state = state["optimizers"]
        adam.load_state_dict(adam_state)
        muon.load_state_dict(muon_state)
        windows, draw, torch_state = state["generators"]
        self.windows.restore(windows)
        self._draw.setstate(draw)
        torch.set_rng_state(torch_state.cpu())
        self.step, self.elapsed_s, self.audio_s = state["counters"]
        self.history = json.loads((self.folder / "history.json").read_text())
        return True


def main() -> None:
    """Train, or resume training, until the given hours of augmented audio are processed."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--hours", type=float, default=HOURS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("training/out"))
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)  # tiny attention weights: up to 10% slower without
    trainer = Trainer(args.out, args.out / "corpus", hours=args.hours, seed=args.seed)
    hours = {kind: round(trainer.corpus.hours(kind), 2) for kind in trainer.corpus.recordings}
    print(f"corpus in hours: {hours}; resumed: {trainer.resume()}", flush=True)
    trainer.run()


if __name__ == "__main__":
    main()
