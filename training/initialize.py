"""Weight initialization for a narrow Whisper: local heads, strong convolutions."""

from __future__ import annotations

import math

import torch

from training.network import HEAD_WIDTH, Network

# Initial attention offset of each encoder head, by layer and head, in positions of 20 ms; None: random.
_HEAD_OFFSETS: tuple[tuple[int | None, ...], ...] = (
    (-3, 3, None),
    (-7, 7, None),
    (-14, 14, None),
    (-25, 25, None),
)


@torch.no_grad()
def initialize(network: Network, *, timestamp_zero: int, seed: int) -> None:
    """Initialize by fan-in, because Hugging Face's 0.02 is far too small for a width of 192.

    Encoder heads start as local attention by position; a timestamp's embedding starts as the
    embedding of its encoder position, so that the decoder can copy one to the other.
    """
    generator = torch.Generator().manual_seed(seed)
    depth = network.size.encoder_layers + network.size.decoder_layers
    positions = network.model.encoder.embed_positions.weight
    for name, weight in network.named_parameters():
        if name == "model.encoder.embed_positions.weight":
            continue  # sinusoids
        if "embed_" in name:
            weight.normal_(0, 0.05, generator=generator)
        elif weight.ndim >= 2:
            std = 1 / math.sqrt(weight[0].numel())
            if "out_proj" in name or "fc2" in name:
                std /= math.sqrt(depth)
            elif "conv1" in name:
                std *= 1.4
            elif "conv2" in name:
                std *= 3.5  # so that the position embeddings do not dominate the audio
            weight.normal_(0, std, generator=generator)
    tokens = network.model.decoder.embed_tokens.weight
    tokens[timestamp_zero : timestamp_zero + 1500] = 0.07 * positions
    tokens[timestamp_zero + 1500] = 0.07 * positions[-1]
    _start_heads_local(network)


def _start_heads_local(network: Network, gain: float = 1.5) -> None:
    """Set queries and keys so that q(t) . k(s) peaks at s = t + offset."""
    width = network.size.width
    head_width = HEAD_WIDTH
    pairs = head_width // 2
    row = torch.arange(pairs)
    speed = torch.exp(-math.log(10_000) / (width // 2 - 1) * row.float())
    for layer, offsets in zip(network.model.encoder.layers, _HEAD_OFFSETS, strict=False):
        for head, offset in enumerate(offsets):
            if offset is None:
                continue
            query, key = torch.zeros(head_width, width), torch.zeros(head_width, width)
            cosine, sine = torch.cos(speed * offset), torch.sin(speed * offset)
            query[row, row] = query[pairs + row, width // 2 + row] = 1.0
            key[row, row], key[row, width // 2 + row] = cosine, -sine
            key[pairs + row, row], key[pairs + row, width // 2 + row] = sine, cosine
            rows = slice(head * head_width, (head + 1) * head_width)
            layer.self_attn.q_proj.weight[rows] = query * gain
            layer.self_attn.k_proj.weight[rows] = key * gain
            layer.self_attn.q_proj.bias[rows] = 0
