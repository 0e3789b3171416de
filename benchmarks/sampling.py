"""Sampling speed beside transformers' GPT-2 of the same width, depth and number format.

Both draw from untrained weights (speed does not depend on their values): batch 64, 64 and 256
tokens of 512 codes, 4 layers, 4 heads, width 256, plain temperature 1, each with its own key-value
cache. The two take turns; the ratio is the median over pairs. What our linear layers and our
attention take alone says what is left to gain.

    taskset -c 1 env OMP_NUM_THREADS=1 python benchmarks/sampling.py [--pairs 5] [--write]
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any, Literal

import torch
import transformers
from transformers import GPT2Config, GPT2LMHeadModel

from pellucid.priors.cache import KeyValueCache
from pellucid.priors.decoding import PackedTransformer, Stepper
from pellucid.priors.layout import Layout
from pellucid.priors.sampling import sample
from pellucid.priors.transformer import CodeTransformer
from results import write_section

CODES, WIDTH, LAYERS, HEADS, BATCH = 512, 256, 4, 4, 64
GRIDS = {64: (8, 8), 256: (16, 16)}
Precision = Literal["float32", "bf16"]
DTYPES: dict[Precision, torch.dtype] = {"float32": torch.float32, "bf16": torch.bfloat16}


def ours(tokens: int, precision: Precision) -> Callable[[], object]:
    """Return a call that draws a batch with this package."""
    model = CodeTransformer(
        Layout(CODES, GRIDS[tokens]), width=WIDTH, layers=LAYERS, heads=HEADS
    ).eval()
    condition = model.condition(count=BATCH).detach()
    return lambda: sample(model, condition, range(BATCH), batch_size=BATCH, precision=precision)


def peer(tokens: int, precision: Precision) -> Callable[[], object]:
    """Return a call that draws a batch with transformers' `generate`."""
    config = GPT2Config(
        vocab_size=CODES + 1, n_positions=tokens + 1, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS,
        bos_token_id=CODES, eos_token_id=None, pad_token_id=CODES,
    )  # fmt: skip
    model: Any = GPT2LMHeadModel(config).eval()  # its own annotations contradict each other
    model.to(DTYPES[precision])
    start = torch.full((BATCH, 1), CODES)
    mask = torch.ones_like(start)

    @torch.inference_mode()
    def draw() -> object:
        return model.generate(
            start, attention_mask=mask, max_new_tokens=tokens, min_new_tokens=tokens,
            do_sample=True, top_k=0, use_cache=True,
        )  # fmt: skip

    return draw


def pairs(tokens: int, precision: Precision, count: int) -> tuple[list[float], list[float]]:
    """Return tokens per second of both, taking turns."""
    calls = ours(tokens, precision), peer(tokens, precision)
    rates: tuple[list[float], list[float]] = ([], [])
    for turn in range(count + 1):
        for call, found in zip(calls, rates, strict=True):
            seconds = elapsed(call)
            if turn:  # the first turn warms up
                found.append(BATCH * tokens / seconds)
    return rates


@torch.inference_mode()
def parts(tokens: int, precision: Precision) -> tuple[float, float]:
    """Return seconds that a draw spends in its linear layers, and in attention with its cache."""
    dtype = DTYPES[precision]
    model = CodeTransformer(Layout(CODES, GRIDS[tokens]), width=WIDTH, layers=LAYERS, heads=HEADS)
    packed = PackedTransformer(model, rows=BATCH, dtype=dtype)
    x, wide = (torch.randn(BATCH, width).to(dtype) for width in (WIDTH, 4 * WIDTH))
    cache = KeyValueCache(
        layers=LAYERS, rows=BATCH, heads=HEADS, channels=WIDTH // HEADS, length=tokens,
        dtype=dtype, device=torch.device("cpu"),
    )  # fmt: skip
    query = x.view(BATCH * HEADS, 1, -1)
    key, value = x.view(BATCH, HEADS, -1), x.view(BATCH, HEADS, -1)

    def linear() -> None:
        for _ in range(tokens):
            for layer in packed.layers:
                layer.to_qkv(x)
                layer.out.added_to(x, x)
                layer.up(x)
                layer.down.added_to(x, wide)
            packed.outputs[0](x)

    def attention() -> None:
        for position in range(tokens):
            cache.reserve(position)
            for layer in range(LAYERS):
                cache.write(layer, position, key, value)
                cache.attend(layer, position, query)

    packed.outputs[0](x)
    return elapsed(linear), elapsed(attention)


def elapsed(work: Callable[[], object]) -> float:
    """Return seconds of a call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def cache_gap() -> float:
    """Return the largest difference of float32 logits with and without the cache."""
    model = CodeTransformer(Layout(CODES, GRIDS[64]), width=WIDTH, layers=LAYERS, heads=HEADS)
    model.eval()
    sequence = torch.randint(CODES, (4, 64), generator=torch.Generator().manual_seed(0))
    condition = model.condition(count=4).detach()
    stepper = Stepper(PackedTransformer(model, rows=4), condition)
    steps = [stepper.step(None if s == 0 else sequence[:, s - 1]) for s in range(64)]
    with torch.no_grad():
        return float((torch.stack(steps, dim=1) - model(sequence, condition)).abs().max())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=5, help="timed turns of each")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="write benchmarks/RESULTS.md")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    transformers.logging.set_verbosity_error()
    lines = [
        f"`python benchmarks/sampling.py --write`: batch {BATCH}, {CODES} codes, {LAYERS} layers, "
        f"{HEADS} heads, width {WIDTH}; {arguments.pairs} alternating pairs, {arguments.threads} "
        f"thread, torch {torch.__version__}, transformers {transformers.__version__}, load average "
        f"{os.getloadavg()[0]:.0f} on {os.cpu_count()} cores. Medians of wall time; the ratio is "
        "the median (lowest … highest) of the pairs' ratios. The last columns: shares of our time "
        "that the linear layers and the attention (with its cache) take when run alone, and how "
        "many times faster we were if the rest cost nothing.",
        "",
        "| tokens | number format | ours, tokens/s | GPT-2 `generate`, tokens/s | faster "
        "| linear layers | attention | these alone |",
        "|---:|---|---:|---:|---|---:|---:|---:|",
    ]
    for precision in DTYPES:
        for tokens in GRIDS:
            mine, theirs = pairs(tokens, precision, arguments.pairs)
            found = [parts(tokens, precision) for _ in mine]
            alone = [statistics.median(p) for p in zip(*found, strict=True)]
            whole = BATCH * tokens / statistics.median(mine)
            ratios = sorted(a / b for a, b in zip(mine, theirs, strict=True))
            lines.append(
                f"| {tokens} | {precision} | {statistics.median(mine):,.0f} "
                f"| {statistics.median(theirs):,.0f} "
                f"| **{statistics.median(ratios):.1f}×** ({ratios[0]:.1f} … {ratios[-1]:.1f}) "
                f"| {alone[0] / whole:.0%} | {alone[1] / whole:.0%} "
                f"| {statistics.median(ratios) * whole / sum(alone):.1f}× |"
            )
            print(lines[-1], flush=True)
    lines += [
        "",
        f"Largest difference of float32 logits with and without cache: {cache_gap():.1e}.",
    ]
    text = "\n".join(lines)
    print(text)
    if arguments.write:
        write_section("sampling", "## Sampling\n\n" + text)


if __name__ == "__main__":
    main()
