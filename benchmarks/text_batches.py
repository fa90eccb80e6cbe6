"""Padding in text batches, and what batches of like length save: RoBERTa with random weights.

    python benchmarks/text_batches.py [--tiny] [--texts 48] [--shard 16] [--batch 32]

Lengths are drawn as they are in practice: half captions (log-normal, median 70 tokens), half lines
of dialogue (median 12). Both ways of reading run one after the other in this process, on the same
token ids, so their ratio holds on a busy machine too. No trained weights are needed: time does not
depend on their values.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from redub.features.models.roberta_emotion.checkpoint import TokenIds
from redub.features.models.roberta_emotion.extractor import batches_of_like_length
from redub.features.models.roberta_emotion.network import TextReader
from redub.features.runtime import Runtime
from redub.features.weights.offline import quiet_transformers

VOCABULARY, MOST_TOKENS = 50_265, 512
SIZES = {
    "real": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
             "intermediate_size": 4096},
    "tiny": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
             "intermediate_size": 128},
}  # fmt: skip


def made_texts(count: int, seed: int) -> list[TokenIds]:
    """Token ids of ``count`` texts, captions and lines in turn, as the clips of a film come."""
    rng = np.random.default_rng(seed)
    medians = np.where(np.arange(count) % 2, 12, 70)
    lengths = np.clip(rng.lognormal(np.log(medians), 0.35), 4, MOST_TOKENS).astype(int)
    return [(0, *map(int, rng.integers(4, VOCABULARY - 1, length - 2)), 2) for length in lengths]


def in_order(texts: Sequence[TokenIds], batch: int) -> list[list[TokenIds]]:
    return [list(texts[i : i + batch]) for i in range(0, len(texts), batch)]


def sorted_only(texts: Sequence[TokenIds], batch: int) -> list[list[TokenIds]]:
    return in_order(sorted(texts, key=len), batch)


def of_like_length(texts: Sequence[TokenIds], batch: int) -> list[list[TokenIds]]:
    ordered = sorted(texts, key=len)
    return [ordered[part] for part in batches_of_like_length([len(t) for t in ordered], batch)]


def waste_of(batches: Sequence[Sequence[TokenIds]]) -> float:
    """Share of all computed token places that is padding."""
    padded = sum(len(batch) * max(map(len, batch)) for batch in batches)
    return 1.0 - sum(len(ids) for batch in batches for ids in batch) / padded


def by_shards(
    texts: Sequence[TokenIds],
    shard: int,
    cut: Callable[[Sequence[TokenIds], int], list[list[TokenIds]]],
    batch: int,
) -> list[list[TokenIds]]:
    """A run sees one shard at a time; captions and lines of it are read apart."""
    return [
        part
        for start in range(0, len(texts), 2 * shard)
        for kind in (0, 1)
        for part in cut(texts[start + kind : start + 2 * shard : 2], batch)
    ]


def seconds(reader: TextReader, batches: Sequence[Sequence[TokenIds]]) -> float:
    start = time.perf_counter()
    for batch in batches:
        reader._forward(tuple(batch))  # not read(): the second way would find the first's values
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="a network of two layers")
    parser.add_argument("--texts", type=int, default=48, help="texts in the timed run")
    parser.add_argument("--shard", type=int, default=16, help="clips per shard in the timed run")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()

    many = made_texts(4096, seed=1)
    print(f"padding, batches of at most {options.batch}, {len(many)} texts")
    print("clips per shard | clip order | sorted | of like length | texts per pass")
    for shard in (16, 64, 256):
        ways = [by_shards(many, shard, cut, options.batch)
                for cut in (in_order, sorted_only, of_like_length)]  # fmt: skip
        shares = " | ".join(f"{waste_of(way):.1%}" for way in ways)
        print(f"{shard} | {shares} | {len(many) / len(ways[2]):.1f}")

    transformers = quiet_transformers()
    torch.manual_seed(0)
    config = transformers.RobertaConfig(
        vocab_size=VOCABULARY, max_position_embeddings=MOST_TOKENS + 2, type_vocab_size=1,
        num_labels=7, **SIZES["tiny" if options.tiny else "real"],
    )  # fmt: skip
    device = Runtime(device=options.device).torch_device()
    module = transformers.RobertaForSequenceClassification(config).eval().to(device)
    reader = TextReader(module, device, pad=1)
    texts = made_texts(options.texts, seed=2)
    ways = {
        "one by one": [[ids] for ids in texts],
        "batches in clip order": by_shards(texts, options.shard, in_order, options.batch),
        "batches of like length": by_shards(texts, options.shard, of_like_length, options.batch),
    }
    seconds(reader, [[texts[0]], texts[:2]])  # warm up
    tokens = sum(map(len, texts))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    threads = torch.get_num_threads()
    print(f"\n{len(texts)} texts, {tokens} tokens, {options.shard} clips per shard, {name}, "
          f"{threads} threads, {'tiny' if options.tiny else 'RoBERTa-large'}")  # fmt: skip
    base = 0.0
    for title, batches in ways.items():
        took = seconds(reader, batches)
        base = base or took
        print(f"{title}: {took:.2f} s, {tokens / took:.0f} tokens/s, ×{base / took:.2f}, "
              f"{len(batches)} passes, {waste_of(batches):.1%} padding")  # fmt: skip
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory {peak:.1f} GiB")


if __name__ == "__main__":
    main()
