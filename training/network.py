"""Whisper in plain torch for training: transformers' parameter names, windows of any length.

Loading transformers takes longer than a small training run needs, and its encoder takes only
30 s windows. Export loads these weights into WhisperForConditionalGeneration by name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.attention import attend

HEAD_WIDTH = 64
N_MELS = 80
MAX_POSITIONS = 1500
MAX_TOKENS = 448


@dataclass(frozen=True, slots=True)
class Size:
    """The dimensions of a model."""

    vocabulary: int
    width: int = 192
    encoder_layers: int = 3
    decoder_layers: int = 2

    @property
    def heads(self) -> int:
        """Return the number of attention heads of 64 channels, as in every Whisper."""
        return self.width // HEAD_WIDTH


def sinusoids(length: int, channels: int) -> Tensor:
    """Return Whisper's fixed encoder positions, shape (length, channels)."""
    speeds = torch.exp(-math.log(10_000) / (channels // 2 - 1) * torch.arange(channels // 2))
    angles = torch.arange(length)[:, None] * speeds[None, :]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def _split_heads(x: Tensor) -> Tensor:
    batch, length, width = x.shape
    return x.view(batch, length, width // HEAD_WIDTH, HEAD_WIDTH).transpose(1, 2)


def _join_heads(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """Multi-head attention; keeps head 0's queries and keys for the attention loss."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)
        self.seen: tuple[Tensor, Tensor] | None = None

    def forward(
        self, x: Tensor, encoder_output: Tensor | None = None, *, causal: bool = False
    ) -> Tensor:
        """Attend from x to encoder_output, or to x itself."""
        source = x if encoder_output is None else encoder_output
        q, k = self.q_proj(x), self.k_proj(source)
        if encoder_output is not None:
            self.seen = (q[..., :HEAD_WIDTH], k[..., :HEAD_WIDTH])
        heads = (_split_heads(x) for x in (q, k, self.v_proj(source)))
        mixed = attend(*heads, causal=causal)
        return self.out_proj(_join_heads(mixed))


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward part, with layer norm before each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.self_attn = Attention(width)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer; input and output have the shape (batch, length, width)."""
        x = x + self.self_attn(self.self_attn_layer_norm(x))
        return x + self.fc2(functional.gelu(self.fc1(self.final_layer_norm(x))))


class DecoderLayer(nn.Module):
    """Causal self-attention, cross-attention and a feed-forward part."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.self_attn = Attention(width)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.encoder_attn = Attention(width)
        self.encoder_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, encoder_output: Tensor) -> Tensor:
        """Apply the layer to x, shape (batch, n, width); encoder_output has the shape (batch, length, width)."""
        x = x + self.self_attn(self.self_attn_layer_norm(x), causal=True)
        x = x + self.encoder_attn(self.encoder_attn_layer_norm(x), encoder_output)
        return x + self.fc2(functional.gelu(self.fc1(self.final_layer_norm(x))))


class Encoder(nn.Module):
    """Whisper's encoder: two convolutions, fixed positions, layers."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(N_MELS, size.width, 3, padding=1)
        self.conv2 = nn.Conv1d(size.width, size.width, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(MAX_POSITIONS, size.width)
        self.embed_positions.weight.requires_grad_(False).copy_(
            sinusoids(MAX_POSITIONS, size.width)
        )
        self.layers = nn.ModuleList(EncoderLayer(size.width) for _ in range(size.encoder_layers))
        self.layer_norm = nn.LayerNorm(size.width)

    def forward(self, mel: Tensor, offset: int = 0) -> Tensor:
        """Encode mel of shape (batch, 80, 2 * frames); positions start at `offset`."""
        x = functional.gelu(self.conv1(mel))
        x = functional.gelu(self.conv2(x)).transpose(1, 2)
        x = x + self.embed_positions.weight[offset : offset + x.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return self.layer_norm(x)


class Decoder(nn.Module):
    """Whisper's decoder: token and position embeddings, layers."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(size.vocabulary, size.width)
        self.embed_positions = nn.Embedding(MAX_TOKENS, size.width)
        self.layers = nn.ModuleList(DecoderLayer(size.width) for _ in range(size.decoder_layers))
        self.layer_norm = nn.LayerNorm(size.width)

    def forward(self, tokens: Tensor, encoder_output: Tensor) -> Tensor:
        """Decode (batch, n) token ids to hidden states (batch, n, width)."""
        x = self.embed_tokens(tokens) + self.embed_positions.weight[: tokens.shape[1]]
        for layer in self.layers:
            x = layer(x, encoder_output)
        return self.layer_norm(x)


class _Body(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(size), Decoder(size)


class Network(nn.Module):
    """The whole model; its state_dict loads into WhisperForConditionalGeneration."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size
        self.model = _Body(size)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of every token; the output weights are the token embeddings."""
        return functional.linear(hidden, self.model.decoder.embed_tokens.weight)
