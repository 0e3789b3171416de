"""The same codes and the same EMA state as vector-quantize-pytorch on the same batches."""

from __future__ import annotations

import pytest
import torch
import vector_quantize_pytorch as peer

from pellucid.bottlenecks import RVQ, VQ

D, K = 16, 128


def copy_state(ours, theirs) -> None:
    """Start our codebook from the peer's."""
    ours.vectors.copy_(theirs.embed[0])
    ours.ema_sums.copy_(theirs.embed_avg[0])
    ours.ema_counts.copy_(theirs.cluster_size[0])


def assert_equal_state(ours, theirs) -> None:
    torch.testing.assert_close(ours.ema_counts, theirs.cluster_size[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.ema_sums, theirs.embed_avg[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.vectors, theirs.embed[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cosine", [False, True])
def test_vq_matches_over_training_steps(cosine) -> None:
    torch.manual_seed(0)
    theirs = peer.VectorQuantize(
        D, K, decay=0.9, commitment_weight=0.25, rotation_trick=False, use_cosine_sim=cosine
    )
    ours = VQ(
        D, codes=K, cosine=cosine, decay=0.9, commitment=0.25, init="normal", restart_threshold=0.0
    )
    copy_state(ours.codebook, theirs._codebook)
    for _ in range(8):
        z = torch.randn(1000, D)
        a, b = z.clone().requires_grad_(), z.clone().requires_grad_()
        q, codes, loss = theirs(a[None])
        output = ours(b)
        assert (output.latent.codes == codes[0]).float().mean() >= 0.999
        penalty = output.penalties["commitment"]
        torch.testing.assert_close(penalty.value * penalty.weight, loss, rtol=1e-4, atol=1e-6)
        (q[0].sin().sum() + loss).backward()
        (output.z.sin().sum() + penalty.value * penalty.weight).backward()
        torch.testing.assert_close(b.grad, a.grad, rtol=1e-4, atol=1e-5)
    assert_equal_state(ours.codebook, theirs._codebook)


def test_rvq_matches_codes_and_state() -> None:
    torch.manual_seed(0)
    theirs = peer.ResidualVQ(
        dim=D, num_quantizers=4, codebook_size=K, decay=0.9, rotation_trick=False
    )
    ours = RVQ(D, levels=4, codes=K, decay=0.9, init="normal", restart_threshold=0.0)
    for mine, layer in zip(ours.codebooks, theirs.layers, strict=True):
        copy_state(mine, layer._codebook)
    for _ in range(5):
        z = torch.randn(1000, D)
        q, codes, loss = theirs(z[None])
        output = ours(z)
        assert (output.latent.codes == codes[0]).float().mean() >= 0.999
        torch.testing.assert_close(output.z, q[0], rtol=1e-4, atol=1e-5)
        # The peer gives one loss per level with weight 1; ours is their mean.
        torch.testing.assert_close(output.penalties["commitment"].value, loss.mean())
    for mine, layer in zip(ours.codebooks, theirs.layers, strict=True):
        assert_equal_state(mine, layer._codebook)


def test_rotation_gradient_matches() -> None:
    torch.manual_seed(0)
    theirs = peer.VectorQuantize(D, K, rotation_trick=True, commitment_weight=0.0).train()
    ours = VQ(D, codes=K, init="normal", restart_threshold=0.0, estimator="rotation")
    copy_state(ours.codebook, theirs._codebook)
    z, gradient = torch.randn(500, D), torch.randn(500, D)
    a, b = z.clone().requires_grad_(), z.clone().requires_grad_()
    theirs(a[None])[0].backward(gradient[None])
    ours(b).z.backward(gradient)
    torch.testing.assert_close(b.grad, a.grad, rtol=1e-4, atol=1e-5)
