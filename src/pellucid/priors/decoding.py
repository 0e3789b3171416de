"""One step of decoding at a time: the transformer without autograd, modules or recomputation.

`Stepper` computes what `CodeTransformer.forward` computes, for one more position at a time. Weights
are packed once; a step writes into memory taken at the start.

Shape letters: N rows decoded together, D width, H heads, L levels, K codes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.priors.cache import KeyValueCache
from pellucid.priors.packed import PackedLinear
from pellucid.priors.transformer import Block, CodeTransformer


class PackedTransformer:
    """Hold a prior's weights as a step of decoding reads them.

    Args:
        model: the prior.
        rows: sequences decoded together, a hint for the layout of weights.
        dtype: number format of weights and cache; logits are float32 in any.
    """

    @torch.inference_mode()
    def __init__(
        self, model: CodeTransformer, *, rows: int, dtype: torch.dtype = torch.float32
    ) -> None:
        layout = model.layout
        self.dtype, self.width = dtype, model.width
        self.depth, self.codes, self.length = layout.depth, layout.codes, layout.length
        self.start_token = model.start_token
        self.table = model.embed.weight.to(dtype)
        self.places_SD = model.place_vectors().to(dtype)
        blocks = [block for block in model.blocks if isinstance(block, Block)]
        self.layers = [_Layer(block, dtype, rows) for block in blocks]
        self.norm = _Norm(model.norm, dtype)
        self.outputs = [
            PackedLinear(weight.to(dtype), None, rows=rows) for weight in model.output_weight()
        ]


class Stepper:
    """Decode a batch of sequences position by position.

    Args:
        packed: the prior.
        condition_ND: (N, D) what `CodeTransformer.condition` returned.
    """

    @torch.inference_mode()
    def __init__(self, packed: PackedTransformer, condition_ND: Tensor) -> None:
        self.packed, self.position = packed, 0
        self.condition_ND = condition_ND.to(packed.dtype)
        self.start_N = torch.full(
            (len(condition_ND),), packed.start_token, device=condition_ND.device
        )
        heads = packed.layers[0].heads
        self.cache = KeyValueCache(
            layers=len(packed.layers),
            rows=len(condition_ND),
            heads=heads,
            channels=packed.width // heads,
            length=packed.length,
            dtype=packed.dtype,
            device=condition_ND.device,
        )

    @torch.inference_mode()
    def step(self, previous_N: Tensor | None = None) -> Tensor:
        """Return logits (N, K) of the next code, float32.

        Args:
            previous_N: the code chosen for the position before; None at the first.
        """
        packed, position = self.packed, self.position
        if previous_N is None:
            tokens_N = self.start_N
        else:
            tokens_N = previous_N + (position - 1) % packed.depth * packed.codes
        x_ND = F.embedding(tokens_N, packed.table) + self.condition_ND + packed.places_SD[position]
        self.cache.reserve(position)
        for number, layer in enumerate(packed.layers):
            x_ND = layer(x_ND, self.cache, number, position)
        self.position += 1
        return packed.outputs[position % packed.depth](packed.norm(x_ND)).float()


class _Norm:
    def __init__(self, norm: torch.nn.LayerNorm, dtype: torch.dtype) -> None:
        self.shape, self.eps = norm.normalized_shape, norm.eps
        self.weight, self.bias = norm.weight.to(dtype), norm.bias.to(dtype)

    def __call__(self, x_ND: Tensor) -> Tensor:
        return F.layer_norm(x_ND, self.shape, self.weight, self.bias, self.eps)


class _Layer:
    def __init__(self, block: Block, dtype: torch.dtype, rows: int) -> None:
        self.heads = block.heads
        width = block.out.in_features
        # 1/√D of the scores, folded into what makes the queries
        scale = torch.ones(3 * width, device=block.to_qkv.weight.device)
        scale[:width] = (width // block.heads) ** -0.5
        weight, bias = block.to_qkv.weight * scale[:, None], block.to_qkv.bias * scale
        self.norm_1, self.norm_2 = _Norm(block.norm_1, dtype), _Norm(block.norm_2, dtype)
        self.to_qkv = PackedLinear(weight.to(dtype), bias.to(dtype), rows=rows)
        self.out = PackedLinear.of(block.out, dtype, rows=rows)
        self.up = PackedLinear.of(block.up, dtype, rows=rows, then="gelu")
        self.down = PackedLinear.of(block.down, dtype, rows=rows)

    def __call__(self, x_ND: Tensor, cache: KeyValueCache, number: int, position: int) -> Tensor:
        rows, width = x_ND.shape
        qkv = self.to_qkv(self.norm_1(x_ND)).view(rows, 3, self.heads, width // self.heads)
        query_BHD, key_BHD, value_BHD = qkv.unbind(1)
        cache.write(number, position, key_BHD, value_BHD)
        mixed = cache.attend(number, position, query_BHD.reshape(rows * self.heads, 1, -1))
        x_ND = self.out.added_to(x_ND, mixed.view(rows, width))
        return self.down.added_to(x_ND, self.up(self.norm_2(x_ND)))
