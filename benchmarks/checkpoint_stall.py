"""How long training stands still for one checkpoint, and what of it goes where.

    python benchmarks/checkpoint_stall.py [--parameters 170] [--rounds 3]

The loop waits while ``checkpoint.Saver.write`` copies, and a thread does the rest while steps
go on; here matrix products stand for the steps, and the last row says how much slower they are
meanwhile. ``checkpoint.write``, which that thread runs, is measured on its own, too. Both are
given what a run of a ``--parameters`` million parameter model gives it: averaged weights,
AdamW's two moments per parameter, raw weights; random numbers of them, in layers as a
transformer has them. The split is by timing the functions that ``write`` calls; "the rest" is
what none of them covers. Needs 2.7 GiB of disk per kept checkpoint at 170 million, two of them,
and as much memory.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from redub.training import checkpoint

LAYER = {"projection": (4, 1024, 1024), "inner": (2, 1024, 4096), "norm": (4, 1024)}
ROW = "{:32} {:>8}"


def weights(millions: float) -> dict[str, Tensor]:
    """Layers of random numbers until there are as many as wanted."""
    draw = torch.Generator().manual_seed(0)
    made: dict[str, Tensor] = {}
    left = millions * 1e6
    while left > 0:
        for name, shape in LAYER.items():
            value = torch.randn(shape, generator=draw)
            made[f"layer{len(made)}.{name}"] = value
            left -= value.numel()
    return made


def snapshot_of(raw: dict[str, Tensor], step: int) -> checkpoint.Snapshot:
    """As the trainer makes it: nothing is copied yet."""
    moments = {
        number: {"step": torch.tensor(float(step)), "exp_avg": -value, "exp_avg_sq": value.abs()}
        for number, value in enumerate(raw.values())
    }
    return checkpoint.Snapshot(
        step=step,
        weights={name: value + 0.001 for name, value in raw.items()},
        state={
            "optimizer": {"state": moments, "param_groups": [{"params": list(range(len(raw)))}]},
            "raw_weights": raw,
            "random": checkpoint.random_states(),
            "epoch": 0,
            "batch_in_epoch": step,
        },
        record={"system": "bench"},
    )


class Stopwatch:
    """Seconds inside of named functions, while they stand in for the real ones."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                self.spent[name] += time.perf_counter() - start

        return call


def stall(root: Path, raw: dict[str, Tensor], step: int) -> tuple[float, dict[str, float]]:
    """Seconds of one ``write``, all of it and by part."""
    watch = Stopwatch()
    snapshot = snapshot_of(raw, step)
    places = {
        "serialise weights (a copy)": (safetensors.torch, "save"),
        "serialise state, written": (torch, "save"),
        "hash": (hashlib, "file_digest"),
        "fsync": (os, "fsync"),
        "older ones removed": (checkpoint, "remove"),
    }
    kept = {name: getattr(*place) for name, place in places.items()}
    for name, (module, function) in places.items():
        setattr(module, function, watch.timed(name, kept[name]))
    try:
        start = time.perf_counter()
        checkpoint.write(root, snapshot, keep=1)
        took = time.perf_counter() - start
    finally:
        for name, (module, function) in places.items():
            setattr(module, function, kept[name])
    watch.spent["the rest: weights written"] = took - sum(watch.spent.values())
    return took, dict(watch.spent)


def beside_a_loop(root: Path, raw: dict[str, Tensor]) -> tuple[float, float, float]:
    """Seconds that a loop stands still, until the checkpoint is there, and steps' slowing down."""
    matrix = torch.randn(1024, 1024)

    def step() -> float:
        start = time.perf_counter()
        torch.mm(matrix, matrix)
        return time.perf_counter() - start

    alone = sum(step() for _ in range(50)) / 50
    snapshot = snapshot_of(raw, 1000)
    with checkpoint.Saver() as saver:
        start = time.perf_counter()
        saver.write(root, snapshot, keep=1, keep_best=1)
        stood, meanwhile = time.perf_counter() - start, []
        while saver.is_busy:
            meanwhile.append(step())
        saver.wait()
        return stood, time.perf_counter() - start, sum(meanwhile) / len(meanwhile) / alone


def floors(root: Path, raw: dict[str, Tensor]) -> dict[str, float]:
    """What must be paid: a copy of all four sets in memory, their hash, their bytes on the disk."""
    sets = 4

    def seconds(run: Callable[[], object]) -> float:
        start = time.perf_counter()
        run()
        return (time.perf_counter() - start) * sets

    def written() -> None:
        with (root / "floor").open("wb", buffering=0) as file:
            for value in raw.values():
                file.write(value.numpy())  # type: ignore[arg-type]
            os.fsync(file.fileno())
        (root / "floor").unlink()

    def hashed() -> None:
        digest = hashlib.sha256()
        for value in raw.values():
            digest.update(value.numpy())  # type: ignore[arg-type]

    return {
        "copy in memory": seconds(lambda: [value.clone() for value in raw.values()]),
        "SHA-256": seconds(hashed),
        "written and synced": seconds(written),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parameters", type=float, default=170, help="millions")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    raw = weights(options.parameters)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        rounds = [stall(root, raw, step) for step in range(1, options.rounds + 1)]
        size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
        total, parts = min(rounds, key=lambda pair: pair[0])
        count = sum(value.numel() for value in raw.values()) / 1e6
        print(f"{count:.0f} million parameters, {size / 2**30:.2f} GiB, fastest of {len(rounds)}")
        stood, there, slower = beside_a_loop(root, raw)
        print(ROW.format("the loop stands still", f"{stood:.2f} s"))
        print(ROW.format("the checkpoint is there after", f"{there:.2f} s"))
        print(ROW.format("steps take meanwhile", f"{slower:.2f} x"))
        print(ROW.format("written without a thread", f"{total:.2f} s"))
        for part, took in parts.items():
            print(ROW.format(f"  {part}", f"{took:.2f} s"))
        print("alone, same bytes")
        for part, took in floors(root, raw).items():
            print(ROW.format(f"  {part}", f"{took:.2f} s"))


if __name__ == "__main__":
    main()
