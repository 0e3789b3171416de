"""Tiny models of the real packages, with the Subjects the adapters make of them.

Shape letters: B batch, C channels, P positions, d latent channels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.adapters import from_diffusers, from_pythae, from_vector_quantize
from pellucid.diagnosis import Subject


@dataclasses.dataclass
class Adapted:
    """A model, its description, and its own way from x to x_hat."""

    model: Any
    subject: Subject
    x: Tensor
    own: Callable[[Tensor], Tensor]


def images(channels: int = 1, size: int = 8, count: int = 64) -> Tensor:
    """Smooth random images in [0, 1]."""
    coarse = torch.randn(count, channels, 3, 3, generator=torch.Generator().manual_seed(1))
    return F.interpolate(coarse, size=size, mode="bicubic", align_corners=True).sigmoid()


def autoencoder_kl(latent: int = 4) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        in_channels=1, out_channels=1, latent_channels=latent, norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(16, 32), sample_size=8, mid_block_add_attention=False,
    )  # fmt: skip


def vq_model(codes: int = 32) -> Any:
    from diffusers import VQModel

    return VQModel(
        in_channels=1, out_channels=1, latent_channels=4, norm_num_groups=4, vq_embed_dim=4,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(16, 32), num_vq_embeddings=codes, mid_block_add_attention=False,
    )  # fmt: skip


def pythae_model(kind: str, **options: Any) -> Any:
    import pythae.models as models

    name = f"{kind}_Config" if "_" in kind else f"{kind}Config"
    config = getattr(models, name)(input_dim=(1, 8, 8), latent_dim=8, **options)
    return getattr(models, kind)(config)


def composition(quantizer: Any, channels: int = 8) -> Adapted:
    """Two strided convolutions around a quantiser."""
    encoder = nn.Sequential(nn.Conv2d(1, 16, 4, 2, 1), nn.GELU(), nn.Conv2d(16, channels, 3, 1, 1))
    decoder = nn.Sequential(
        nn.Conv2d(channels, 16, 3, 1, 1), nn.GELU(), nn.ConvTranspose2d(16, 1, 4, 2, 1)
    )
    subject = from_vector_quantize(encoder, quantizer, decoder, loss=F.mse_loss)

    def own(x: Tensor) -> Tensor:
        """The package's documented way: channels last, positions in a row."""
        z = encoder(x)
        if getattr(quantizer, "accept_image_fmap", False) or type(quantizer).__name__ == "LFQ":
            return decoder(quantizer(z)[0])
        q = quantizer(z.flatten(2).movedim(1, -1))[0]
        return decoder(q.movedim(-1, 1).reshape(len(z), -1, *z.shape[2:]))

    return Adapted(nn.ModuleList([encoder, quantizer, decoder]), subject, images(), own)


def quantizers() -> dict[str, Callable[[], Any]]:
    """Every kind of quantiser a composition is tested with."""
    import vector_quantize_pytorch as vq

    return {
        "VectorQuantize": lambda: vq.VectorQuantize(dim=8, codebook_size=16),
        "VectorQuantize maps": lambda: vq.VectorQuantize(
            dim=8, codebook_size=16, accept_image_fmap=True
        ),
        "VectorQuantize cosine": lambda: vq.VectorQuantize(
            dim=8, codebook_size=16, use_cosine_sim=True
        ),
        "VectorQuantize heads": lambda: vq.VectorQuantize(
            dim=8, codebook_size=16, heads=2, codebook_dim=4, separate_codebook_per_head=True
        ),
        "ResidualVQ": lambda: vq.ResidualVQ(dim=8, codebook_size=16, num_quantizers=3),
        "GroupedResidualVQ": lambda: vq.GroupedResidualVQ(
            dim=8, groups=2, codebook_size=16, num_quantizers=3
        ),
        "FSQ": lambda: vq.FSQ(levels=[5, 5, 5], dim=8),
        "ResidualFSQ": lambda: vq.ResidualFSQ(dim=8, levels=[5, 5, 3], num_quantizers=2),
        "LFQ": lambda: vq.LFQ(dim=8, codebook_size=256),
        "SimVQ": lambda: vq.SimVQ(dim=8, codebook_size=16),
    }


def adapted(name: str) -> Adapted:
    """Build one member of the contract suite, in evaluation mode."""
    torch.manual_seed(0)
    if name in quantizers():
        member = composition(quantizers()[name]())
    elif name in ("AutoencoderKL", "VQModel"):
        model = autoencoder_kl() if name == "AutoencoderKL" else vq_model()
        member = Adapted(model, from_diffusers(model), images() * 2 - 1, lambda x: model(x).sample)
    else:
        model = pythae_model(name)
        x = images()
        member = Adapted(model, from_pythae(model), x, lambda x: model({"data": x})["recon_x"])
    member.model.eval()
    return member


PYTHAE = ("AE", "VAE", "BetaVAE", "RAE_L2", "WAE_MMD", "VQVAE")
MEMBERS = ("AutoencoderKL", "VQModel", *PYTHAE, *quantizers())
