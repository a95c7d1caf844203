"""Searches for a window's tokens: the likeliest one each time, samples, or several hypotheses side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from thoth_watch.infrastructure.whisper.decoder_steps import DecoderCache, StepDecoder
from thoth_watch.infrastructure.whisper.special_tokens import SpecialTokens
from thoth_watch.infrastructure.whisper.timestamp_rules import TimestampRules

# fewer windows than this still going: the others are dropped from the batch; a GPU computes them for
# next to nothing, and would have to capture its step anew
KEEP_SHARE, KEEP_SHARE_ON_GPU = 0.75, 0.25


@dataclass(frozen=True, slots=True)
class Decoded:
    """The tokens of one window, without end-of-text."""

    tokens: tuple[int, ...]
    avg_logprob: float  # over tokens and end-of-text, as whisper counts

    @classmethod
    def cut(cls, tokens: list[int], logprob: float, *, end: int) -> Decoded:
        """The tokens before end-of-text. logprob: the sum over them and end-of-text, if it came to that."""
        n_tokens = tokens.index(end) if end in tokens else len(tokens)
        return cls(tuple(tokens[:n_tokens]), logprob / (n_tokens + 1))


@dataclass(slots=True)
class _Beams:
    """One window's hypotheses: those that go on, and those that have ended with their scores."""

    active: list[tuple[list[int], float]]
    finished: list[tuple[list[int], float]] = field(default_factory=list)


class Search:
    """Finds tokens under Whisper's rules; windows of one call share each step."""

    def __init__(
        self,
        steps: StepDecoder,
        special_tokens: SpecialTokens,
        *,
        size: int,
        positions: int,
        device: torch.device,
        suppressed: Sequence[int] | None = None,
    ) -> None:
        """size: of the vocabulary. positions: of the decoder. suppressed: None is the checkpoint's."""
        self._steps, self._special_tokens, self._positions = steps, special_tokens, positions
        always = special_tokens.suppressed if suppressed is None else suppressed
        self._suppressed = special_tokens.mask(always, size, device)
        self._suppressed_first = special_tokens.mask(special_tokens.suppressed_first, size, device)

    @property
    def masks(self) -> tuple[Tensor, Tensor]:
        """Tokens that are forbidden always, and at first; true there, shape (vocabulary,)."""
        return self._suppressed, self._suppressed_first

    @property
    def end(self) -> int:
        """End-of-text."""
        return self._special_tokens.end

    def max_new_tokens(self, prompt_length: int) -> int:
        """New tokens that fit behind a prompt of that length."""
        return self._special_tokens.max_new_tokens(prompt_length, self._positions)

    def _forbid(self, logits: Tensor, rules: TimestampRules, *, is_first: bool) -> None:
        logits.masked_fill_(self._suppressed, -torch.inf)
        if is_first:
            logits.masked_fill_(self._suppressed_first, -torch.inf)
        rules.apply(logits)

    def run(
        self,
        cache: DecoderCache,
        logits: Tensor,
        *,
        prompt_length: int,
        temperature: float = 0.0,
        draws: Tensor | None = None,
    ) -> list[Decoded]:
        """Tokens with timestamps for each row, the likeliest each time, or drawn at a temperature.

        memory has read the prompt, logits is what the decoder said to it; both are used up.
        draws: numbers in (0, 1], shape (rows, tokens), that decide what is drawn.
        """
        v, n_rows = self._special_tokens, len(logits)
        keep_share = KEEP_SHARE_ON_GPU if logits.device.type == "cuda" else KEEP_SHARE
        rules = TimestampRules(v, n_rows, logits.device)
        max_new_tokens = self.max_new_tokens(prompt_length)
        rows = torch.arange(n_rows, device=logits.device)  # those still going
        has_ended = torch.zeros(n_rows, dtype=torch.bool, device=logits.device)
        tokens = torch.full((n_rows, max_new_tokens), v.end, device=logits.device)
        logprobs = torch.zeros(n_rows, device=logits.device)
        for step in range(max_new_tokens):
            self._forbid(logits, rules, is_first=step == 0)
            best, chosen = logits.max(dim=-1)
            if temperature > 0 and draws is not None:
                chosen = _sample_token(logits, temperature, draws[rows, step])
                best = logits.gather(-1, chosen[:, None])[:, 0]
            logprobs[rows] += torch.where(has_ended, 0.0, best - logits.logsumexp(dim=-1))
            chosen.masked_fill_(has_ended, v.end)
            tokens[rows, step] = chosen
            has_ended |= chosen == v.end
            n_going = len(rows) - int(has_ended.sum())
            if n_going == 0 or step == max_new_tokens - 1:
                break
            rules.push(chosen)
            if n_going <= keep_share * len(rows):
                active = (~has_ended).nonzero()[:, 0]
                rows, has_ended, chosen = rows[active], has_ended[active], chosen[active]
                cache.keep(active)
                rules.keep(active)
            logits = self._steps.step(chosen[:, None], cache)
        return [
            Decoded.cut(row, total, end=v.end)
            for row, total in zip(tokens.tolist(), logprobs.tolist(), strict=True)
        ]

    def beam_search(
        self,
        cache: DecoderCache,
        logits: Tensor,
        *,
        prompt_length: int,
        beam_size: int,
        patience: float = 1.0,
        length_penalty: float | None = None,
    ) -> list[Decoded]:
        """Tokens with timestamps for each window: the best of `beam_size` hypotheses kept at each step.

        A window is done when `beam_size * patience` hypotheses have ended. The rules are those of
        openai/whisper's BeamSearchDecoder and MaximumLikelihoodRanker.
        """
        v, n_windows = self._special_tokens, len(logits)
        wanted = max(1, round(beam_size * patience))
        windows = [_Beams([([], 0.0)]) for _ in range(n_windows)]
        live = list(range(n_windows))
        rules = TimestampRules(v, n_windows, logits.device)
        for step in range(self.max_new_tokens(prompt_length)):
            self._forbid(logits, rules, is_first=step == 0)
            scores = logits.log_softmax(dim=-1)
            values, choices = (part.tolist() for part in scores.topk(beam_size + 1, dim=-1))
            parents: list[int] = []
            newest: list[int] = []
            still: list[int] = []
            first_row = 0
            for index in live:
                window = windows[index]
                options = sorted(
                    (
                        (total + value, row, choice)
                        for row, (_, total) in enumerate(window.active)
                        for value, choice in zip(
                            values[first_row + row], choices[first_row + row], strict=True
                        )
                        if value > -torch.inf
                    ),
                    key=lambda option: -option[0],
                )
                active, came_from = [], []
                for total, row, choice in options:
                    so_far = window.active[row][0]
                    if choice == v.end:
                        if len(window.finished) < wanted:
                            window.finished.append((so_far, total))
                    else:
                        active.append(([*so_far, choice], total))
                        came_from.append(first_row + row)
                    if len(active) == beam_size:
                        break
                first_row += len(window.active)
                window.active = active
                if len(window.finished) < wanted and active:
                    still.append(index)
                    parents += came_from
                    newest += [tokens[-1] for tokens, _ in active]
            if not still:
                break
            same_rows = len(still) == len(live) and len(parents) == len(logits)
            live = still
            rows = torch.tensor(parents, device=logits.device)
            chosen = torch.tensor(newest, device=logits.device)
            cache.keep(rows, within_windows=same_rows)
            rules.keep(rows)
            rules.push(chosen)
            logits = self._steps.step(chosen[:, None], cache)
        return [_best(window, wanted, length_penalty) for window in windows]


def _sample_token(logits: Tensor, temperature: float, at: Tensor) -> Tensor:
    """The token at which the probabilities, added up, reach `at` of their sum."""
    reached = torch.softmax(logits / temperature, dim=-1).double().cumsum(dim=-1)
    return (reached < at[:, None].double() * reached[:, -1:]).sum(dim=-1)


def _best(window: _Beams, wanted: int, length_penalty: float | None) -> Decoded:
    """The best hypothesis that ended; where too few did, those that were cut off count too."""
    finished = window.finished + sorted(window.active, key=lambda beam: -beam[1])
    finished = finished[: max(wanted, len(window.finished))]

    def score(beam: tuple[list[int], float]) -> float:
        tokens, total = beam
        if length_penalty is None:
            return total / max(1, len(tokens))
        return total / float(((5 + len(tokens)) / 6) ** length_penalty)

    tokens, total = max(finished, key=score)
    return Decoded(tuple(tokens), total / (len(tokens) + 1))
