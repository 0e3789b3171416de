"""An autoencoder of windows of cells: as many cells as there are, given as packed graphs.

Shape letters: B windows, N cells, C markers, T global tokens, W width, D latent channels,
E cells of all windows together, R = C + 3 + N rows of packed cells.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from pellucid.bottlenecks.contract import Bottleneck, BottleneckOutput
from pellucid.errors import PellucidError, RecipeError
from pellucid.functional.cell_tensor import replaced, unpack_graphs
from pellucid.models.autoencoder import Autoencoder
from pellucid.models.graph_autoencoder import scattered
from pellucid.nn.graph.cells import CellDecoder, CellEncoder
from pellucid.nn.permuters.contract import Permuter
from pellucid.records import Latent, Penalty


class CellAutoencoder(Autoencoder):
    """Join parts for cells: x (B, R, N, 1) is packed, and so is x_hat.

    Where cells lie, how many there are and who is whose neighbour is told to both sides; only
    markers pass the bottleneck. Padding changes nothing: bottlenecks and objectives see cells that
    exist. A latent is (B, D, T), or (B, D, T + N) with latents per cell, zero where there is none.

    Args:
        encoder: markers → tokens, and cells.
        bottleneck: of the tokens.
        decoder: latents and places → markers.
        permuter: brings windows into canonical orientation, or None.
        node_bottleneck: of the cells, where the encoder keeps a latent per cell.

    Raises:
        RecipeError: when the parts do not fit, or latents per cell would be codes.
    """

    encoder: CellEncoder
    decoder: CellDecoder

    def __init__(
        self,
        encoder: CellEncoder,
        bottleneck: Bottleneck,
        decoder: CellDecoder,
        permuter: Permuter | None = None,
        node_bottleneck: Bottleneck | None = None,
    ) -> None:
        super().__init__(encoder, bottleneck, decoder, permuter)
        for name in ("tokens", "per_node"):
            if getattr(encoder, name) != getattr(decoder, name):
                raise RecipeError(
                    f"encoder and decoder count different {name}",
                    where=f"encoder.{name}, decoder.{name}",
                    expected="equal",
                    found=f"{getattr(encoder, name)} and {getattr(decoder, name)}",
                )
        if (node_bottleneck is not None) != encoder.per_node:
            raise RecipeError(
                "latents per cell need a bottleneck, and only they do", where="encoder.per_node"
            )
        if node_bottleneck is not None and node_bottleneck.codebook_size is not None:
            raise RecipeError(
                "there are no codes per cell",
                where="bottleneck.kind, encoder.per_node",
                expected="gaussian or identity with per_node: true, or per_node: false",
            )
        self.node_bottleneck = node_bottleneck

    def squeezed(self, h: Tensor, x: Tensor) -> BottleneckOutput:
        """Return what the bottlenecks make of h (B, W, T[ + N]); penalties are per window."""
        tokens = self.encoder.tokens
        out = self.bottleneck(h[:, :, :tokens])
        told = replaced(x, x.new_zeros(len(x), x.shape[2], self.in_channels))
        if self.node_bottleneck is None:
            return dataclasses.replace(out, latent=dataclasses.replace(out.latent, told=told))
        mask_BN = unpack_graphs(x, self.in_channels).mask_BN
        own = self.node_bottleneck(h[:, :, tokens:].transpose(1, 2)[mask_BN])
        logvar = None
        if out.latent.logvar is not None and own.latent.logvar is not None:
            logvar = torch.cat([out.latent.logvar, scattered(own.latent.logvar, mask_BN)], 2)
        mean = torch.cat([out.latent.mean, scattered(own.latent.mean, mask_BN)], 2)
        cells = mask_BN.sum() / len(mask_BN)
        further = {
            f"cell_{name}": Penalty(penalty.value * cells, penalty.weight, penalty.unit)
            for name, penalty in own.penalties.items()
        }
        return BottleneckOutput(
            torch.cat([out.z, scattered(own.z, mask_BN)], 2),
            Latent(mean=mean, logvar=logvar, told=told),
            out.penalties | further,
            out.metrics | {f"cell_{name}": value for name, value in own.metrics.items()},
        )

    def written(self, z: Tensor, told: Tensor | None) -> Tensor:
        """Return packed cells (B, R, N, 1): what was told, with the markers that z says.

        Raises:
            PellucidError: when nobody told where the cells lie.
        """
        if told is None:
            raise PellucidError(
                "a bare latent does not say where its cells lie",
                where="CellAutoencoder.decode",
                expected="the Latent that `encode` returned",
            )
        places = unpack_graphs(told, self.in_channels)
        return replaced(told, self.decoder(z, places.positions_BN2, places.mask_BN))

    def compared(self, x_hat: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return (E, C) markers of the cells that exist."""
        mask_BN = unpack_graphs(target, self.in_channels).mask_BN
        rows = [x[:, : self.in_channels, :, 0].transpose(1, 2)[mask_BN] for x in (x_hat, target)]
        return rows[0], rows[1]

    def at_step(self, step: int) -> None:
        """Set every schedule to optimiser step `step`."""
        super().at_step(step)
        if self.node_bottleneck is not None:
            self.node_bottleneck.at_step(step)
