"""A decoder-only transformer over codes, conditioned on a class, a prompt, or nothing.

Shape letters: B batch, S sequence, D width, H heads, K codes, N prompts, T bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.errors import DataError, RecipeError
from pellucid.functional.attention import attend
from pellucid.priors.layout import Layout
from pellucid.priors.text import ByteEncoder


class Block(nn.Module):
    """Attend to what came before, then think about it: pre-norm residual attention and MLP.

    x ← x + W_o·attention(norm(x)), x ← x + W₂·GELU(W₁·norm(x)). Source: Radford et al. 2019, §2.3.

    Args:
        width: D.
        heads: H, must divide the width.
        hidden: width of the MLP.
        dropout: on what each branch adds.
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1 = nn.LayerNorm(width)
        self.to_qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm_2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x_BSD: Tensor) -> Tensor:
        """Return (B, S, D); position s sees positions 0 … s."""
        qkv = self.to_qkv(self.norm_1(x_BSD)).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each B, H, S, D/H
        mixed = attend(q, k, v, causal=True)
        x_BSD = x_BSD + self.drop(self.out(mixed.transpose(1, 2).flatten(2)))
        return x_BSD + self.drop(self.down(F.gelu(self.up(self.norm_2(x_BSD)))))


class CodeTransformer(nn.Module):
    """Predict every code from those before it: p(c₁ … c_S | y) = Π p(c_s | c_{<s}, y).

    The input at s is the code before (a start token at 0), where s stands (row, column, level) and
    the condition y, all as vectors added up. A condition that is absent, or dropped while training,
    is one learned vector, so that one model serves guidance (Ho & Salimans 2022).

    Args:
        layout: shape of the codes.
        width: D.
        layers: number of blocks.
        heads: attention heads, a divisor of the width.
        hidden: width of each MLP; None takes four times the width.
        classes: number of classes it can be conditioned on; 0 for none.
        text: how it understands prompts: "bytes" learns to, an integer is the size of vectors that
            a frozen text model gives, None does not.
        dropout: on embeddings and what each branch adds.
        tied: use the embedding of codes as the output layer.

    Raises:
        RecipeError: when sizes do not fit together.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        width: int = 256,
        layers: int = 4,
        heads: int = 4,
        hidden: int | None = None,
        classes: int = 0,
        text: str | int | None = None,
        dropout: float = 0.1,
        tied: bool = False,
    ) -> None:
        super().__init__()
        _check_sizes(width, layers, heads, dropout)
        self.layout, self.width, self.classes, self.tied = layout, width, classes, tied
        size, depth = layout.codes, layout.depth
        self.embed = nn.Embedding(size * depth + 1, width)  # the last is the start token
        self.places = nn.ParameterList(
            nn.Parameter(torch.zeros(axis, width)) for axis in (*layout.grid, depth)
        )
        self.absent = nn.Parameter(torch.zeros(width))
        self.class_embed = nn.Embedding(classes, width) if classes else None
        self.text = None
        if text is not None:
            self.text = ByteEncoder(width) if text == "bytes" else nn.Linear(int(text), width)
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            Block(width, heads, hidden or 4 * width, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.head = None if tied else nn.Parameter(torch.empty(depth, size, width))
        self._initialise(layers)

    def _initialise(self, layers: int) -> None:
        """Draw small weights; branches start smaller the more there are (Radford et al. 2019)."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
                if isinstance(module, nn.Linear) and module.bias is not None:
                    nn.init.zeros_(module.bias)
        for place in self.places:
            nn.init.normal_(place, std=0.01)
        if self.head is not None:
            nn.init.normal_(self.head, std=0.02)
        for block in self.blocks:
            assert isinstance(block, Block)
            for branch in (block.out, block.down):
                nn.init.normal_(branch.weight, std=0.02 / (2 * layers) ** 0.5)

    def forward(self, sequence_BS: Tensor, condition_BD: Tensor | None = None) -> Tensor:
        """Return logits (B, S, K): row s is the prediction of code s from the codes before it.

        Args:
            sequence_BS: codes; the last is predicted only.
            condition_BD: what `condition` returned; None is unconditional.
        """
        x_BSD = self.embed(self.tokens_before(sequence_BS)) + self.place_vectors()
        condition_BD = self.absent if condition_BD is None else condition_BD
        x_BSD = self.drop(x_BSD + condition_BD.reshape(-1, 1, self.width))
        for block in self.blocks:
            x_BSD = block(x_BSD)
        # S = P·L: the levels of one position stand together, each with its own output layer
        by_level = self.norm(x_BSD).unflatten(1, (-1, self.layout.depth))
        return torch.einsum("bpld,lkd->bplk", by_level, self.output_weight()).flatten(1, 2)

    def tokens_before(self, sequence_BS: Tensor) -> Tensor:
        """Return (B, S) rows of the embedding: the start token, then every code but the last."""
        depth = self.layout.depth
        level_S = torch.arange(sequence_BS.shape[1], device=sequence_BS.device) % depth
        tokens_BS = sequence_BS + level_S * self.layout.codes
        start_B1 = torch.full_like(tokens_BS[:, :1], self.start_token)
        return torch.cat([start_B1, tokens_BS[:, :-1]], dim=1)

    @property
    def start_token(self) -> int:
        """The row of the embedding that stands before the first code."""
        return self.layout.codes * self.layout.depth

    def place_vectors(self) -> Tensor:
        """Return (S, D): where every code stands, as a sum over axes and level."""
        total = torch.zeros((1, self.width), device=self.absent.device)
        for place in self.places:
            total = (total[:, None] + place).flatten(0, 1)
        return total

    def output_weight(self) -> Tensor:
        """Return (L, K, D), the output layer of every level."""
        if self.head is not None:
            return self.head
        return self.embed.weight[:-1].unflatten(0, (self.layout.depth, self.layout.codes))

    def condition(
        self,
        *,
        count: int,
        labels: Tensor | None = None,
        text: Tensor | None = None,
        texts_of: Tensor | None = None,
        keep_class: Tensor | None = None,
        keep_text: Tensor | None = None,
    ) -> Tensor:
        """Return (count, D) condition vectors; where nothing is kept, the absent one.

        Args:
            count: samples.
            labels: (count,) classes, or None.
            text: (N, T) bytes or (N, E) vectors of distinct prompts, or None.
            texts_of: (count,) which prompt belongs to each sample; None: one each.
            keep_class: (count,) bool, whose class is told; None tells all given labels.
            keep_text: (count,) bool, whose prompt is told; None tells all given prompts.

        Raises:
            DataError: when this prior was not trained with such a condition.
        """
        y_BD = self.absent.expand(count, -1)
        if labels is not None:
            if self.class_embed is None:
                raise _not_trained("classes")
            told = self.class_embed(labels)
            y_BD = told if keep_class is None else torch.where(keep_class[:, None], told, y_BD)
        if text is not None:
            if self.text is None:
                raise _not_trained("prompts")
            vectors_ND = self.text(text)
            told = vectors_ND if texts_of is None else vectors_ND[texts_of]
            told = told.to(y_BD.dtype)
            y_BD = told if keep_text is None else torch.where(keep_text[:, None], told, y_BD)
        return y_BD

    def start_from(self, vectors_LKC: Sequence[Tensor]) -> None:
        """Let codes that decode alike start with similar embeddings.

        The vectors of each level's codebook are centred, scaled and turned by a random matrix; with
        few sequences this is worth a lot, because rare codes borrow from their neighbours.

        Args:
            vectors_LKC: (K, C) codebook of each level.

        Raises:
            DataError: when they do not fit the layout.
        """
        shape = (self.layout.depth, self.layout.codes)
        if (len(vectors_LKC), *{len(v) for v in vectors_LKC}) != shape:
            found = [tuple(v.shape) for v in vectors_LKC]
            raise DataError("this codebook is of other codes", expected=shape, found=found)
        with torch.no_grad():
            for level, vectors_KC in enumerate(vectors_LKC):
                centred = vectors_KC.float() - vectors_KC.float().mean(0)
                scaled = centred / centred.square().mean().sqrt().clamp(min=1e-12)
                turn = torch.randn(scaled.shape[1], self.width) / scaled.shape[1] ** 0.5
                rows = slice(level * shape[1], (level + 1) * shape[1])
                start_KD = 0.02 * scaled @ turn
                self.embed.weight[rows] = start_KD + 0.25 * self.embed.weight[rows]
                if self.head is not None:
                    self.head[level] = start_KD + 0.25 * self.head[level]


def _check_sizes(width: int, layers: int, heads: int, dropout: float) -> None:
    if heads < 1 or width % heads or layers < 1 or width < 1:
        raise RecipeError(
            "these sizes do not make a transformer",
            where="width, layers, heads",
            expected="at least one layer, and heads that divide the width",
            found=f"width {width}, {layers} layers, {heads} heads",
        )
    if not 0 <= dropout < 1:
        raise RecipeError("'dropout' has no meaning", expected="in [0, 1)", found=dropout)


def _not_trained(what: str) -> DataError:
    return DataError(
        f"this prior was trained without {what}",
        hint="train one with them: pellucid prior RUN --name NAME",
    )
