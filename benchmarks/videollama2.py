"""How fast VideoLLaMA 2 captions clips on this machine's GPU, and how well it uses it.

Random weights of the real sizes, so no download is needed: speed does not depend on their values.
Every clip is encoded, read and answered with exactly ``--tokens`` tokens.

    python benchmarks/videollama2.py [--family 7B] [--tokens 64] [--largest 256]
    python benchmarks/videollama2.py --tiny          # toy sizes on the CPU: checks the script only

Batches grow until the memory is used up. Decoding reads every weight of the language model once a
step, whatever the batch, so its bandwidth is those bytes times the steps over the time; it is set
against the bandwidth of a large copy on the same device, bytes read plus bytes written. Without a
GPU the script says so and ends with code 3.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch

from redub.features.models.videollama2.checkpoint import TOWERS, VideoLlama2Plan
from redub.features.models.videollama2.network import (
    MARK,
    VideoLlama2,
    language_config,
    model_class,
)
from redub.features.weights.folder import WeightFolder

MISTRAL = {
    "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    "max_position_embeddings": 32768, "rope_theta": 1e6, "sliding_window": None,
}  # fmt: skip
QWEN2 = {
    "vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944,
    "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
    "max_position_embeddings": 32768, "rope_theta": 1e6,
}  # fmt: skip
CLIP_L, SO400M = TOWERS.values()
FAMILIES = {
    "7B": VideoLlama2Plan(
        language="mistral", language_config=MISTRAL, tower="clip", tower_config=CLIP_L,
        tower_layers=23, padding=1, frames=8,
    ),
    "7B-16F": VideoLlama2Plan(
        language="mistral", language_config=MISTRAL, tower="clip", tower_config=CLIP_L,
        tower_layers=23, padding=1, frames=16,
    ),
    "2.1-7B-16F": VideoLlama2Plan(
        language="qwen2", language_config=QWEN2, tower="siglip", tower_config=SO400M,
        tower_layers=26, padding=0, frames=16,
    ),
}  # fmt: skip
WORDS = (200, 60)  # tokens of the prompt before and after the pictures
UNLISTED = WeightFolder(name="random", path=None, files={})  # type: ignore[arg-type]
NO_GPU = 3


class Speaker:
    """As much of a tokenizer as captioning needs: fixed lengths, no vocabulary."""

    eos_token_id = 2
    chat_template = "fixed"

    def apply_chat_template(self, messages: list[dict[str, str]], **_: Any) -> str:
        return f"before{MARK}after"

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": list(range(10, 10 + WORDS[text == "after"]))}

    def batch_decode(self, ids: torch.Tensor, **_: Any) -> list[str]:
        return [f"{len(row)} tokens" for row in ids]


def tiny(plan: VideoLlama2Plan) -> VideoLlama2Plan:
    """The same parts at toy widths; the pictures keep their size."""
    language = {**plan.language_config, "vocab_size": 300, "hidden_size": 64}
    language |= {"intermediate_size": 96, "num_hidden_layers": 2}
    language |= {"num_attention_heads": 4, "num_key_value_heads": 2}
    tower = {**plan.tower_config, "hidden_size": 32, "intermediate_size": 48}
    tower |= {"num_hidden_layers": 2, "num_attention_heads": 2}
    return replace(plan, language_config=language, tower_config=tower, tower_layers=1)


def random_network(plan: VideoLlama2Plan, device: torch.device, dtype: torch.dtype) -> VideoLlama2:
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    with torch.device(device):
        model = model_class(plan.language)(language_config(plan, UNLISTED), plan, UNLISTED)
    torch.set_default_dtype(torch.float32)
    return VideoLlama2(model.eval(), Speaker(), plan, UNLISTED)


def seconds(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Median time of some runs after a warm-up."""
    times = []
    for _ in range(repeats + 1):
        _wait(device)
        start = time.perf_counter()
        work()
        _wait(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def copy_bandwidth(device: torch.device, megabytes: int) -> float:
    """Bytes read and written per second by a copy inside the device's memory."""
    source = torch.ones(megabytes * 2**20, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() / seconds(lambda: target.copy_(source), device, 7)


def step_bytes(network: VideoLlama2) -> int:
    """Bytes of the weights that one decoding step reads: layers, last norm, output head."""
    model = network.model
    parts = (model.model.layers, model.model.norm, model.lm_head)
    return sum(p.numel() * p.element_size() for part in parts for p in part.parameters())


class Row(NamedTuple):
    batch: int
    whole_s: float
    encode_s: float
    decode_s: float  # of all steps after the first token
    peak_gib: float


def measure(network: VideoLlama2, batch: int, tokens: int, repeats: int) -> Row:
    device, plan = network.device, network.plan
    rng = np.random.default_rng(batch)
    shape = (plan.frames, plan.side, plan.side, 3)
    clips = [rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(batch)]

    def write(count: int) -> None:
        # No end token before its time: every clip costs the same.
        network.model.generation_config.min_new_tokens = count
        network.captions("Describe.", clips, count)

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    whole = seconds(lambda: write(tokens), device, repeats)
    first = seconds(lambda: write(1), device, repeats)
    encode = seconds(lambda: network.prompts("Describe.", clips), device, repeats)
    peak = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else 0.0
    # Toy sizes take so little time that noise may turn the difference round.
    return Row(batch, whole, encode, max(whole - first, 1e-6), peak)


def report(row: Row, first: Row, tokens: int, weight_bytes: int, copy: float) -> str:
    steps = tokens - 1
    reached = weight_bytes * steps / row.decode_s
    gain = (row.batch / row.whole_s) / (first.batch / first.whole_s)
    return (
        f"{row.batch:6}{row.batch / row.whole_s:9.3f}{gain:8.2f}x{row.encode_s / row.batch:10.4f}"
        f"{row.batch * steps / row.decode_s:10.1f}{reached / 1e9:10.1f}{reached / copy:8.1%}"
        f"{row.peak_gib:8.1f}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", choices=FAMILIES, default="7B")
    parser.add_argument("--tokens", type=int, default=64, help="written per clip, at least 2")
    parser.add_argument("--largest", type=int, default=256, help="batch to stop at")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tiny", action="store_true", help="toy sizes on the CPU")
    options = parser.parse_args()
    plan = FAMILIES[options.family]
    if options.tiny:
        device, dtype, plan = torch.device("cpu"), torch.float32, tiny(plan)
        options.largest = min(options.largest, 4)
    elif torch.cuda.is_available():
        device, dtype = torch.device("cuda"), torch.bfloat16
    else:
        print(
            "no GPU is usable here; the 7B models want one with 24 GB or more. "
            "--tiny checks this script on the CPU",
            file=sys.stderr,
        )
        return NO_GPU
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    copy = copy_bandwidth(device, 64 if options.tiny else 1024)
    network = random_network(plan, device, dtype)
    count = sum(p.numel() for p in network.parameters())
    weight_bytes = step_bytes(network)
    prompt = len(network.visual_tokens(np.zeros((plan.frames, plan.side, plan.side, 3), np.uint8)))
    print(f"VideoLLaMA 2, {options.family}{' (tiny)' if options.tiny else ''}, random weights")
    print(f"{name}, {str(dtype).removeprefix('torch.')}, {count / 1e6:.1f} M parameters")
    print(f"prompt {prompt + sum(WORDS)} positions, {options.tokens} tokens written per clip")
    print(f"copy {copy / 1e9:.1f} GB/s; one decoding step reads {weight_bytes / 1e6:.1f} MB")
    print(
        f"{'batch':>6}{'clips/s':>9}{'gain':>9}{'encode s':>10}{'tokens/s':>10}{'GB/s':>10}"
        f"{'of copy':>8}{'GiB':>8}"
    )
    rows: list[Row] = []
    batch = 1
    while batch <= options.largest:
        try:
            rows.append(measure(network, batch, options.tokens, options.repeats))
        except torch.OutOfMemoryError:
            print(f"{batch:6} does not fit")
            break
        print(report(rows[-1], rows[0], options.tokens, weight_bytes, copy), flush=True)
        batch *= 2
        gc.collect()
    best = max(rows, key=lambda row: row.batch / row.whole_s)
    ratio = (best.batch / best.whole_s) / (rows[0].batch / rows[0].whole_s)
    print(f"best at batch {best.batch}: {best.batch / best.whole_s:.3f} clips/s, {ratio:.2f}x one")
    return 0


if __name__ == "__main__":
    sys.exit(main())
