"""How much of a batch is padding: bucketed batches against random ones of the same budget.

    python benchmarks/padding.py [--lines 2000] [--epochs 3]

Waste is padded minus real mel frames over padded ones, of all batches of an epoch. "Demo" draws
lengths from the lines of the demo film (seed 7), which are spoken but not drawn; "uniform" is
1 to 10 s. Random batches fill the same budget (``frames_per_batch``, ``lines_per_batch``) in an
order that knows nothing of lengths. Also printed: batches per epoch: what bucketing saves in steps.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np

from redub.footage.demo_film.film import play_lines
from redub.footage.demo_film.plan import FilmSpec, plan_film
from redub.training.data.batching import BatchingConfig, epoch_batches
from redub.training.presets import TRAINING_PRESETS

MEL_FRAMES_PER_VIDEO_FRAME = 4
ROW = "{:8} {:8} {:>9} {:>9} {:>9} {:>9} {:>9}"


def demo_lengths() -> list[int]:
    """Mel frames of every line of the demo film."""
    spec = FilmSpec()
    takes = (take for scene in plan_film(spec) for take in play_lines(spec, scene))
    return [MEL_FRAMES_PER_VIDEO_FRAME * (take.last - take.first) for take in takes]


def random_batches(frames: Sequence[int], config: BatchingConfig, *, seed: int) -> list[list[int]]:
    """Lines in a random order, cut where the next one would break the budget."""
    batches: list[list[int]] = [[]]
    longest = 0
    for number in np.random.default_rng(seed).permutation(len(frames)).tolist():
        longest = max(longest, frames[number])
        size = len(batches[-1]) + 1
        if size > config.lines_per_batch or (size > 1 and longest * size > config.frames_per_batch):
            batches.append([])
            longest = frames[number]
        batches[-1].append(number)
    return batches


def waste(frames: Sequence[int], batches: Sequence[Sequence[int]]) -> float:
    """Share of padded frames that are not real."""
    padded = sum(max(frames[n] for n in batch) * len(batch) for batch in batches)
    return 1 - sum(frames[n] for batch in batches for n in batch) / padded


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lines", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    random = np.random.default_rng(0)
    lengths = {
        "demo": random.choice(demo_lengths(), options.lines).tolist(),
        "uniform": random.integers(100, 1001, options.lines).tolist(),
    }
    print(ROW.format("lengths", "preset", "bucketed", "random", "batches", "random", "plan ms"))
    for name, frames in lengths.items():
        for preset in ("tiny", "paper"):
            config = TRAINING_PRESETS[preset].batching
            epochs = range(options.epochs)
            start = time.perf_counter()
            planned = [epoch_batches(frames, config, seed=0, epoch=epoch) for epoch in epochs]
            took = (time.perf_counter() - start) / options.epochs
            drawn = [random_batches(frames, config, seed=epoch) for epoch in epochs]
            shares = [np.mean([waste(frames, own) for own in way]) for way in (planned, drawn)]
            counts = [np.mean([len(own) for own in way]) for way in (planned, drawn)]
            print(
                ROW.format(
                    name,
                    preset,
                    *(f"{100 * share:.1f} %" for share in shares),
                    *(f"{count:.0f}" for count in counts),
                    f"{took * 1000:.0f}",
                ),
                flush=True,
            )


if __name__ == "__main__":
    main()
