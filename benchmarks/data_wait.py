"""The share of a training step that is spent making its batch, on the processor, one thread.

    python benchmarks/data_wait.py [--steps 20] [--paper-steps 2]

``authentic_dubber`` takes steps as the trainer does, one thread as `redub train` sets it, on a pack
of random numbers: the preset "tiny" at the demo's widths and lengths; "paper" at the paper
profile's widths with lines of 1 to 10 s, in batches of tiny's size (16,000 frames take minutes and
16 GiB per step on a processor). "Waits" is the time between two steps; "ahead" is what is left of
it when another thread makes the next batch while the step computes. The batches are the same either
way: nothing in them is drawn at random. The first step is not counted.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from packs import FOLDER, PAPER, RECORD, Made, write_pack

from redub.core.types import AudioSpec
from redub.model.batch import DubbingBatch
from redub.model.registry import configured, system
from redub.training.data.batching import chosen, collate, epoch_batches, widths_of
from redub.training.data.lines import FeatureScaler
from redub.training.data.pack import Pack, PackRecord
from redub.training.presets import TRAINING_PRESETS
from redub.training.step import Learner, train_step

SYSTEM = "authentic_dubber"
DEMO = {"lips": 57, "speaker": 28, "scene": 32, "face": 124, "text": 32, "audio": 167}
"""Widths of the built-in extractors."""
ROW = "{:6} {:6} {:>7} {:>9} {:>10} {:>9}"


class Run:
    """A learner and the batches of one preset."""

    def __init__(self, root: Path, preset: str) -> None:
        record = PackRecord.read(root / FOLDER / "bench" / RECORD)
        self.lines = Pack(root / FOLDER, record).lines("train")
        self.config = replace(TRAINING_PRESETS[preset], batching=TRAINING_PRESETS["tiny"].batching)
        self.scaler = FeatureScaler.fit(self.lines)
        self.widths = widths_of(self.lines, AudioSpec())
        torch.manual_seed(0)
        model = system(SYSTEM)(configured(SYSTEM, preset, {}), self.widths)
        self.learner = Learner(model.train(), self.config.optimiser)
        frames = self.lines.mel_frames.tolist()
        self.planned = epoch_batches(frames, self.config.batching, seed=0, epoch=0)

    def batch(self, numbers: Sequence[int]) -> DubbingBatch:
        reference_frames = self.config.batching.reference_frames
        lines = chosen(self.lines, numbers)
        return collate(lines, self.scaler, self.widths, reference_frames=reference_frames)

    def at_once(self) -> Iterator[Callable[[], DubbingBatch]]:
        for numbers in itertools.cycle(self.planned):
            yield lambda numbers=numbers: self.batch(numbers)  # type: ignore[misc]

    def ahead(self) -> Iterator[Callable[[], DubbingBatch]]:
        """One batch ahead: it is begun when the one before it is handed out."""
        with ThreadPoolExecutor(1) as thread:
            coming = thread.submit(self.batch, self.planned[0])
            for numbers in itertools.cycle(self.planned[1:] + self.planned[:1]):

                def wait(numbers: Sequence[int] = numbers) -> DubbingBatch:
                    nonlocal coming
                    batch = coming.result()
                    coming = thread.submit(self.batch, numbers)
                    return batch

                yield wait

    def steps(
        self, batches: Iterator[Callable[[], DubbingBatch]], count: int
    ) -> tuple[float, float]:
        """Seconds waited and seconds in all, of ``count`` steps after the first."""
        waited, began = 0.0, 0.0
        for number in range(count + 1):
            if number == 1:
                waited, began = 0.0, time.perf_counter()
            start = time.perf_counter()
            batch = next(batches)()
            waited += time.perf_counter() - start
            train_step(self.learner, [batch], self.config.losses)
        return waited, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--paper-steps", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    draw = np.random.default_rng(0)
    sizes = {
        "tiny": (DEMO, draw.integers(45, 90, 240).tolist(), options.steps),
        "paper": (PAPER, draw.integers(25, 251, 240).tolist(), options.paper_steps),
    }
    print(ROW.format("preset", "batch", "steps", "s / step", "waits ms", "share"))
    for preset, (widths, pictures, count) in sizes.items():
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            write_pack(root, Made(len(pictures), pictures, widths))
            run = Run(root, preset)
            for way, batches in (("now", run.at_once()), ("ahead", run.ahead())):
                waited, took = run.steps(batches, count)
                numbers = (f"{took / count:.3f}", f"{1000 * waited / count:.1f}")
                share = f"{100 * waited / took:.2f} %"
                print(ROW.format(preset, way, count, *numbers, share), flush=True)


if __name__ == "__main__":
    main()
