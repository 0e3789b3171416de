"""CLIP text through its own loader, on a tiny model; the offline error names everything."""

from __future__ import annotations

import json

import pytest
import torch

from pellucid.errors import RunError
from pellucid.priors.clip_text import DEFAULT, ClipText


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory):
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    folder = tmp_path_factory.mktemp("clip")
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{c}</w>" for c in letters)]
    (folder / "vocab.json").write_text(json.dumps({word: n for n, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "CLIPTokenizer"}')
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=16, projection_dim=12,
        num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=16,
        bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    CLIPTextModelWithProjection(config).save_pretrained(folder)
    return folder


def test_prompts_become_unit_vectors_of_the_library(tiny_clip):
    clip = ClipText.open(str(tiny_clip))
    vectors = clip.encode(["a hat", "a dress", "a hat"])
    assert tuple(vectors.shape) == (3, clip.width) == (3, 12)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(vectors[0], vectors[2])
    assert not torch.allclose(vectors[0], vectors[1], atol=1e-3)
    long = clip.encode(["word " * 200])
    assert long.isfinite().all()


def test_absent_weights_name_model_files_and_place(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(RunError) as caught:
        ClipText.open()
    message = str(caught.value)
    for part in (DEFAULT, "model.safetensors", str(tmp_path), "text=bytes"):
        assert part in message
