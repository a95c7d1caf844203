"""Greedy decoding, sampling and beam search over the states of a decoder, with Whisper's timestamp rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from thoth_watch.infrastructure.whisper.decoding.special_tokens import SpecialTokens
from thoth_watch.infrastructure.whisper.decoding.timestamp_rules import TimestampRules
from thoth_watch.infrastructure.whisper.network.interface import DecoderState

# When at most this share of the batch's rows is unfinished, the finished rows are dropped from it. Lower
# on a GPU, where finished rows cost almost nothing and a smaller batch needs a new CUDA graph.
KEEP_SHARE, KEEP_SHARE_ON_GPU = 0.75, 0.25


@dataclass(frozen=True, slots=True)
class Decoded:
    """The tokens of one window, without end-of-text."""

    tokens: tuple[int, ...]
    avg_logprob: float  # average over the tokens and end-of-text, as openai/whisper computes it


@dataclass(slots=True)
class _Beams:
    """The hypotheses of one window, as (tokens, sum of log-probabilities)."""

    active: list[tuple[list[int], float]]
    finished: list[tuple[list[int], float]] = field(default_factory=list)


class Search:
    """Decodes tokens under Whisper's rules; all rows of a call share each decoder step."""

    def __init__(
        self,
        special_tokens: SpecialTokens,
        *,
        size: int,
        positions: int,
        device: torch.device,
        suppressed: Sequence[int] | None = None,
    ) -> None:
        """Build the suppression masks.

        size: of the vocabulary. positions: the decoder's maximum number of tokens. suppressed: tokens
        that are never generated; None: the checkpoint's list.
        """
        self.special_tokens, self._positions = special_tokens, positions
        always = special_tokens.suppressed if suppressed is None else suppressed
        self._suppressed = special_tokens.mask(always, size, device)
        self._suppressed_first = special_tokens.mask(special_tokens.suppressed_first, size, device)

    @property
    def masks(self) -> tuple[Tensor, Tensor]:
        """Return masks of the tokens suppressed always and as the first token, each (vocabulary,)."""
        return self._suppressed, self._suppressed_first

    def max_new_tokens(self, prompt_length: int) -> int:
        """Return the maximum number of new tokens after a prompt of that length."""
        return self.special_tokens.max_new_tokens(prompt_length, self._positions)

    def cut(self, tokens: list[int], logprob: float) -> Decoded:
        """Return the tokens before end-of-text with their average log-probability.

        logprob: the sum over these tokens and end-of-text, if it was generated.
        """
        end = self.special_tokens.end
        n_tokens = tokens.index(end) if end in tokens else len(tokens)
        return Decoded(tuple(tokens[:n_tokens]), logprob / (n_tokens + 1))

    def _suppress(self, logits: Tensor, rules: TimestampRules, *, is_first: bool) -> None:
        """Set the logits of tokens that must not be generated to minus infinity, in place."""
        logits.masked_fill_(self._suppressed, -torch.inf)
        if is_first:
            logits.masked_fill_(self._suppressed_first, -torch.inf)
        rules.apply(logits)

    def run(
        self,
        state: DecoderState,
        logits: Tensor,
        *,
        prompt_length: int,
        temperature: float = 0.0,
        draws: Tensor | None = None,
    ) -> list[Decoded]:
        """Decode each row greedily, or by sampling at a temperature.

        state: has read the prompt. logits: those after the prompt, float32, (n_rows, vocabulary). Both
        are modified. draws: random numbers in (0, 1], shape (n_rows, tokens), which select the samples.
        """
        special, n_rows = self.special_tokens, len(logits)
        keep_share = KEEP_SHARE_ON_GPU if logits.device.type == "cuda" else KEEP_SHARE
        rules = TimestampRules(special, n_rows, logits.device)
        max_new_tokens = self.max_new_tokens(prompt_length)
        rows = torch.arange(n_rows, device=logits.device)  # the rows still in the batch
        has_ended = torch.zeros(n_rows, dtype=torch.bool, device=logits.device)
        tokens = torch.full((n_rows, max_new_tokens), special.end, device=logits.device)
        logprobs = torch.zeros(n_rows, device=logits.device)
        for step in range(max_new_tokens):
            self._suppress(logits, rules, is_first=step == 0)
            best, chosen = logits.max(dim=-1)
            if temperature > 0 and draws is not None:
                chosen = _sample_token(logits, temperature, draws[rows, step])
                best = logits.gather(-1, chosen[:, None])[:, 0]
            logprobs[rows] += torch.where(has_ended, 0.0, best - logits.logsumexp(dim=-1))
            chosen.masked_fill_(has_ended, special.end)
            tokens[rows, step] = chosen
            has_ended |= chosen == special.end
            n_active = len(rows) - int(has_ended.sum())
            if n_active == 0 or step == max_new_tokens - 1:
                break
            rules.push(chosen)
            if n_active <= keep_share * len(rows):
                active = (~has_ended).nonzero()[:, 0]
                rows, has_ended, chosen = rows[active], has_ended[active], chosen[active]
                state.keep(active)
                rules.keep(active)
            logits = state.step(chosen[:, None])
        return [
            self.cut(row, total)
            for row, total in zip(tokens.tolist(), logprobs.tolist(), strict=True)
        ]

    def beam_search(
        self,
        state: DecoderState,
        logits: Tensor,
        *,
        prompt_length: int,
        beam_size: int,
        patience: float = 1.0,
        length_penalty: float | None = None,
    ) -> list[Decoded]:
        """Decode each window by beam search with `beam_size` hypotheses.

        state, logits: as in `run`, one row per window; both are modified. A window is finished when
        `beam_size * patience` hypotheses have ended. Source: openai/whisper's BeamSearchDecoder and
        MaximumLikelihoodRanker.
        """
        special, n_windows = self.special_tokens, len(logits)
        max_finished = max(1, round(beam_size * patience))
        windows = [_Beams([([], 0.0)]) for _ in range(n_windows)]
        unfinished = list(range(n_windows))
        rules = TimestampRules(special, n_windows, logits.device)
        for step in range(self.max_new_tokens(prompt_length)):
            self._suppress(logits, rules, is_first=step == 0)
            scores = logits.log_softmax(dim=-1)
            values, choices = (part.tolist() for part in scores.topk(beam_size + 1, dim=-1))
            parents: list[int] = []
            last_tokens: list[int] = []
            still_unfinished: list[int] = []
            first_row = 0
            for index in unfinished:
                window = windows[index]
                candidates = sorted(
                    (
                        (total + value, row, choice)
                        for row, (_, total) in enumerate(window.active)
                        for value, choice in zip(
                            values[first_row + row], choices[first_row + row], strict=True
                        )
                        if value > -torch.inf
                    ),
                    key=lambda candidate: -candidate[0],
                )
                active, active_parents = [], []
                for total, row, choice in candidates:
                    prefix = window.active[row][0]
                    if choice == special.end:
                        if len(window.finished) < max_finished:
                            window.finished.append((prefix, total))
                    else:
                        active.append(([*prefix, choice], total))
                        active_parents.append(first_row + row)
                    if len(active) == beam_size:
                        break
                first_row += len(window.active)
                window.active = active
                if len(window.finished) < max_finished and active:
                    still_unfinished.append(index)
                    parents += active_parents
                    last_tokens += [tokens[-1] for tokens, _ in active]
            if not still_unfinished:
                break
            within_windows = len(still_unfinished) == len(unfinished) and len(parents) == len(
                logits
            )
            unfinished = still_unfinished
            rows = torch.tensor(parents, device=logits.device)
            chosen = torch.tensor(last_tokens, device=logits.device)
            state.keep(rows, within_windows=within_windows)
            rules.keep(rows)
            rules.push(chosen)
            logits = state.step(chosen[:, None])
        return [_select_best(window, max_finished, length_penalty) for window in windows]


def _sample_token(logits: Tensor, temperature: float, draws: Tensor) -> Tensor:
    """Sample a token per row by inverting the cumulative distribution at `draws`, shape (n_rows,)."""
    cumulative = torch.softmax(logits / temperature, dim=-1).double().cumsum(dim=-1)
    return (cumulative < draws[:, None].double() * cumulative[:, -1:]).sum(dim=-1)


def _select_best(window: _Beams, max_finished: int, length_penalty: float | None) -> Decoded:
    """Return the finished hypothesis with the best score.

    If fewer than `max_finished` have finished, the likeliest unfinished ones count too.
    """
    finished = window.finished + sorted(window.active, key=lambda beam: -beam[1])
    finished = finished[: max(max_finished, len(window.finished))]

    def score(beam: tuple[list[int], float]) -> float:
        tokens, total = beam
        if length_penalty is None:
            return total / max(1, len(tokens))
        return total / float(((5 + len(tokens)) / 6) ** length_penalty)

    tokens, total = max(finished, key=score)
    return Decoded(tuple(tokens), total / (len(tokens) + 1))
