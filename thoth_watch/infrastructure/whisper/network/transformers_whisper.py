"""Whisper's encoder and decoder as transformers' modules: the reference implementation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import GenerationConfig, WhisperForConditionalGeneration
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.generation import GenerationMixin
from transformers.generation.logits_process import WhisperTimeStampLogitsProcessor
from transformers.modeling_outputs import BaseModelOutput

from thoth_watch.infrastructure.whisper.network.silence_warnings import silence_warnings
from thoth_watch.infrastructure.whisper.placement import PRECISIONS

if TYPE_CHECKING:
    from thoth_watch.infrastructure.whisper.decoding.search import Decoded, Search


class TransformersWhisper:
    """transformers' modules, on one device or offloaded to several."""

    encodes_short_windows = False

    def __init__(
        self,
        model: WhisperForConditionalGeneration,
        *,
        device: torch.device,
        use_cache: bool = True,
    ) -> None:
        """Use a loaded model.

        device: of its inputs. use_cache: False: the decoder reads all earlier tokens in every step.
        """
        self.model, self.config = model, model.config
        self.device, self.use_cache = device, use_cache
        self.device_map = _read_device_map(model)

    @property
    def encoder_dtype(self) -> torch.dtype:
        """Return the dtype of the encoder's weights."""
        dtype: torch.dtype = self.model.get_encoder().conv1.weight.dtype
        return dtype

    @property
    def decoder_dtype(self) -> torch.dtype:
        """Return the dtype of the decoder's weights."""
        dtype: torch.dtype = self.model.get_decoder().embed_positions.weight.dtype
        return dtype

    @property
    def encoder_precision(self) -> str:
        """Return the encoder's precision, read from its layers."""
        return PRECISIONS[self.encoder_dtype]

    @property
    def decoder_precision(self) -> str:
        """Return the decoder's precision, read from its layers."""
        return PRECISIONS[self.decoder_dtype]

    def encode(self, features: Tensor) -> Tensor:
        """Return the encoder output, shape (n_windows, 1500, d_model), in the decoder's dtype."""
        inputs = features.to(self.device, self.encoder_dtype)
        hidden: Tensor = self.model.get_encoder()(inputs).last_hidden_state
        return hidden.to(self.decoder_dtype)

    def prefill(self, hidden: Tensor, tokens: Tensor) -> tuple[TransformersState, Tensor]:
        """Read the first tokens of each window; return the new state and the next token's logits."""
        state = TransformersState(self, hidden)
        return state, state.step(tokens)


class TransformersState:
    """Encoder output, tokens and past keys and values of transformers' modules."""

    def __init__(self, network: TransformersWhisper, hidden: Tensor) -> None:
        """Start without tokens. hidden: the encoder output, one row per hypothesis."""
        self._network, self._hidden = network, hidden
        self._past_key_values = (
            EncoderDecoderCache(DynamicCache(), DynamicCache()) if network.use_cache else None
        )
        self._tokens = torch.zeros(len(hidden), 0, dtype=torch.long, device=hidden.device)

    def step(self, tokens: Tensor) -> Tensor:
        """Read tokens, shape (n, k); return the next token's logits, float32, (n, vocabulary)."""
        self._tokens = torch.cat([self._tokens, tokens], dim=1)
        output = self._network.model(
            encoder_outputs=BaseModelOutput(last_hidden_state=self._hidden),
            decoder_input_ids=self._tokens if self._past_key_values is None else tokens,
            past_key_values=self._past_key_values,
            use_cache=self._past_key_values is not None,
        )
        logits: Tensor = output.logits[:, -1].float()
        return logits

    def align(self, tokens: Tensor, heads: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """Read tokens; return cross-attention weights of the heads and the logits after each token.

        Forward hooks record the cross-attention queries and keys, from which the weights are computed.
        """
        model = self._network.model
        projections: dict[tuple[int, str], Tensor] = {}
        layers = model.get_decoder().layers
        hooks = []
        for layer in {layer for layer, _ in heads}:
            attention = layers[layer].encoder_attn
            for name in ("q_proj", "k_proj"):

                def record(
                    _: Any, __: Any, out: Tensor, key: tuple[int, str] = (layer, name)
                ) -> None:
                    projections[key] = out

                hooks.append(getattr(attention, name).register_forward_hook(record))
        try:
            output = model(
                encoder_outputs=BaseModelOutput(last_hidden_state=self._hidden),
                decoder_input_ids=tokens,
                use_cache=False,
            )
        finally:
            for hook in hooks:
                hook.remove()
        head_dim = model.config.d_model // model.config.decoder_attention_heads
        weights = []
        for layer, head in heads:
            part = slice(head * head_dim, (head + 1) * head_dim)
            q, k = (projections[layer, name][..., part].float() for name in ("q_proj", "k_proj"))
            weights.append(torch.softmax(q @ k.transpose(1, 2) * head_dim**-0.5, dim=-1))
        return torch.stack(weights, dim=1), output.logits.float()

    def greedy(
        self,
        prompts: Sequence[list[int]],
        logits: Tensor,  # noqa: ARG002 - computed again by the loop
        search: Search,
    ) -> list[Decoded]:
        """Decode all rows greedily with transformers' generation loop.

        Calls GenerationMixin.generate on the encoder output, because Whisper's own `generate`, the
        long-form wrapper, would encode again. A window ends at the latest at the decoder's last position.
        """
        prompt = torch.tensor(prompts, device=self._hidden.device)
        length, special = prompt.shape[1], search.special_tokens
        # this state's cache already contains the start token and the cross-attention keys
        past_key_values = (
            self._past_key_values if length > 1 and prompts[0][0] == special.start else None
        )
        input_ids = prompt if past_key_values is None else prompt[:, 1:]
        generation_config = GenerationConfig(
            do_sample=False,
            num_beams=1,
            max_new_tokens=search.max_new_tokens(length),
            use_cache=self._network.use_cache,
            decoder_start_token_id=special.start,
            bos_token_id=special.end,
            eos_token_id=special.end,
            pad_token_id=special.end,
            no_timestamps_token_id=special.no_timestamps,
            max_initial_timestamp_index=special.max_initial_timestamp_index,
        )
        begin = input_ids.shape[1]
        logprobs_recorder = _ChosenLogProbs()
        extra = {"past_key_values": past_key_values} if past_key_values is not None else {}
        with silence_warnings():
            sequences = GenerationMixin.generate(
                self._network.model,
                encoder_outputs=BaseModelOutput(last_hidden_state=self._hidden),
                decoder_input_ids=input_ids,
                generation_config=generation_config,
                logits_processor=[
                    _Suppression(*search.masks, begin=begin),
                    WhisperTimeStampLogitsProcessor(generation_config, begin_index=begin),
                    logprobs_recorder,
                ],
                **extra,
            )
        return [
            search.cut(tokens, sum(logprobs[: _generated_length(special.end, tokens)]))
            for tokens, logprobs in zip(
                sequences[:, begin:].tolist(), logprobs_recorder.by_window(), strict=True
            )
        ]

    def keep(self, rows: Tensor, *, within_windows: bool = False) -> None:
        """Keep or reorder the rows, in place, as DecoderState describes."""
        if not within_windows:
            self._hidden = self._hidden[rows]
        self._tokens = self._tokens[rows]
        if self._past_key_values is not None and len(self._tokens):
            self._past_key_values.reorder_cache(rows)

    def without_tokens(self, rows: Tensor | None = None) -> TransformersState:
        """Return a new state with the same encoder output and no tokens."""
        hidden = self._hidden if rows is None else self._hidden[rows]
        return TransformersState(self._network, hidden)


class _Suppression:
    """A logits processor that suppresses tokens, some of them only as the first token."""

    def __init__(self, always: Tensor, first: Tensor, *, begin: int) -> None:
        self._always = always
        self._first = first | always
        self._begin = begin

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the scores with suppressed tokens at minus infinity."""
        mask = self._first if input_ids.shape[1] == self._begin else self._always
        return scores.masked_fill(mask, -torch.inf)


class _ChosenLogProbs:
    """A logits processor that records the greedy choice's log-probability per window and step."""

    def __init__(self) -> None:
        self._steps: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # noqa: ARG002 - transformers' signature
        """Record the log-probability of the best token; return the scores unchanged."""
        self._steps.append(scores.amax(dim=-1) - scores.logsumexp(dim=-1))
        return scores

    def by_window(self) -> list[list[float]]:
        """Return each window's log-probabilities, in time order."""
        logprobs: list[list[float]] = torch.stack(self._steps, dim=1).tolist()
        return logprobs


def _generated_length(end: int, tokens: list[int]) -> int:
    """Return the number of tokens up to and including end-of-text; the rest is padding."""
    return tokens.index(end) + 1 if end in tokens else len(tokens)


def _read_device_map(model: WhisperForConditionalGeneration) -> dict[str, str] | None:
    """Return the device of each module if the model is offloaded to several devices or disk, else None."""
    hf_device_map = getattr(model, "hf_device_map", None) or {}
    devices = {name: str(device) for name, device in hf_device_map.items()}
    used = set(devices.values())
    return devices if len(used) > 1 or "disk" in used else None
