"""One training step of Authentic-Dubber at the published sizes, against the published structure.

    python benchmarks/authentic_step.py [--batch 32] [--seconds 2.5] [--rounds 3] [--threads 2]
        [--small] [--device cpu|cuda] [--bf16] [--compile]

A step is forward, losses, backward, clipping and the optimiser's update. ``redub`` is
``AuthenticDubber`` (preset "paper") under ``train_step``; ``published`` is ``published_authentic``:
the released system's structure written plainly, whose parameters are counted against the released
ones here; ``recomputed`` is redub with ``recompute``, which holds less and computes it twice. All
take the same batch, made by ``collate``: lines of 0.8 to 1.2 times ``--seconds``, twelve phonemes a
second, K = 3, the paper profile's widths, random numbers; and the same precision (float32, or
bfloat16 autocast with ``--bf16``). ``--small`` is eight lines of 2 s. ``--compile``
compiles redub's sides: loops over phonemes do not compile.

Every round is a process of its own per side, in turn, so that no side's memory is the other's: the
model is built, one step is taken that does not count, then two that do. "Processor s" is what the
process's threads were given: on a shared machine it says more than the wall clock. "Peak" is the
largest resident memory (on a GPU: allocated memory) less what there was when the inputs were made;
"of it parameters" is weights, gradients and moments, "kept" what the forward pass holds for the
backward one. On a GPU the share of the card's peak rate is printed too. Nothing is asserted about
time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from packs import PAPER
from published_authentic import PublishedLearner
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from redub.core.types import MODALITIES, AudioSpec
from redub.model.batch import DubbingBatch, FeatureWidths
from redub.model.systems.authentic_dubber import AuthenticDubber
from redub.training.data.batching import collate
from redub.training.data.lines import FeatureScaler, Hits, Utterance
from redub.training.presets import TRAINING_PRESETS
from redub.training.step import Learner, Precision, train_step

RELEASED = {"model": 110_164_921, "fusion": 58_575_362}
"""Parameters of the released system's two modules."""
NEAR = 0.01
STEPS, HITS, PHONEMES_PER_S, VIDEO_FRAMES_PER_S = 2, 3, 12, 25
PEAK_TFLOPS = {"H100": (67, 989), "H200": (67, 989), "A100": (19.5, 312), "4090": (82.6, 165)}
"""Of some cards: float32 without TF32, bfloat16 without sparsity; from their data sheets."""
ROW = "{:30} {:>12} {:>12} {:>12} {:>8} {:>10}"


def batch_of(lines: int, seconds: float, sound: AudioSpec) -> tuple[DubbingBatch, FeatureWidths]:
    """Lines of random numbers, sorted by length as the released loader sorts them."""
    draw = np.random.default_rng(0)
    widths = FeatureWidths(sound=sound, **PAPER)

    def normal(*shape: int) -> Any:
        return draw.standard_normal(shape, dtype=np.float32)

    made: list[Utterance] = []
    for duration_s in sorted(draw.uniform(0.8 * seconds, 1.2 * seconds, lines)):
        frames = sound.frame_count(round(duration_s * sound.sample_rate_hz))
        phonemes = round(duration_s * PHONEMES_PER_S)
        durations = np.full(phonemes, frames // phonemes)
        durations[: frames % phonemes] += 1
        made.append(
            Utterance(
                clip_id=f"{len(made)}",
                speaker="voice",
                phonemes=draw.integers(1, 85, phonemes),
                mel_frames=frames,
                speaker_vector=normal(widths.speaker),
                reference_mels=[normal(frames, widths.mel)],
                lips=normal(round(duration_s * VIDEO_FRAMES_PER_S), widths.lips),
                durations=durations,
                mel=normal(frames, widths.mel),
                emotion=int(draw.integers(0, widths.emotions)),
                vectors={m: normal(PAPER[m]) for m in MODALITIES},
                hits={
                    m: Hits(
                        vectors=normal(HITS, PAPER[m]),
                        audio=normal(HITS, PAPER["audio"]),
                        scores=np.linspace(0.9, 0.7, HITS, dtype=np.float32),
                    )
                    for m in MODALITIES
                },
            )
        )
    batching = TRAINING_PRESETS["paper"].batching
    batch = collate(made, FeatureScaler({}), widths, reference_frames=batching.reference_frames)
    return batch, widths


class Kept:
    """Bytes that the forward pass holds for the backward one, each storage once."""

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self.sizes: dict[int, int] = {}
        owned = [value for m in modules for value in (*m.parameters(), *m.buffers())]
        self.owned = {value.untyped_storage().data_ptr() for value in owned}

    def __call__(self, value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in self.owned:
            self.sizes[storage.data_ptr()] = storage.nbytes()
        return value.detach()  # an output that is kept as it is would keep its whole graph

    def mib(self) -> float:
        return sum(self.sizes.values()) / 2**20


def status_mib(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise KeyError(name)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


class Side(NamedTuple):
    """What is measured: some modules, a step that gives the shape of its mel, the optimiser."""

    modules: dict[str, nn.Module]
    step: Callable[[DubbingBatch], tuple[int, ...]]
    optimizer: torch.optim.Optimizer
    built_s: float


def published(widths: FeatureWidths, options: argparse.Namespace) -> Side:
    start = time.perf_counter()
    plain = PublishedLearner(AuthenticDubber.PRESETS["paper"], widths)
    built_s = time.perf_counter() - start
    plain.to(options.device)
    weights = TRAINING_PRESETS["paper"].losses

    def step(batch: DubbingBatch) -> tuple[int, ...]:
        return plain.step(batch, weights, half=options.bf16)

    modules: dict[str, nn.Module] = {"model": plain.model, "fusion": plain.fusion}
    return Side(modules, step, plain.optimizer, built_s)


def redub(widths: FeatureWidths, options: argparse.Namespace, *, recompute: bool = False) -> Side:
    start = time.perf_counter()
    model = AuthenticDubber(AuthenticDubber.PRESETS["paper"], widths)
    built_s = time.perf_counter() - start
    training = TRAINING_PRESETS["paper"]
    learner = Learner(
        model.to(options.device).train(),
        training.optimiser,
        compiled=options.compile,
        recompute=recompute,
    )
    forward, shapes = learner.forward, []

    def watched(batch: DubbingBatch) -> Any:
        output = forward(batch)
        shapes.append(tuple(output.mel.shape))
        return output

    learner.forward = watched
    precision: Precision = "bfloat16" if options.bf16 else "float32"

    def step(batch: DubbingBatch) -> tuple[int, ...]:
        train_step(learner, [batch], training.losses, precision=precision)
        return shapes[-1]

    return Side({"model": model}, step, learner.optimizer, built_s)


def recomputed(widths: FeatureWidths, options: argparse.Namespace) -> Side:
    return redub(widths, options, recompute=True)


SIDES = {"published": published, "redub": redub, "recomputed": recomputed}


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One round of one side, in this process."""
    torch.set_num_threads(options.threads)
    on_gpu = options.device == "cuda"
    batch, widths = batch_of(options.batch, options.seconds, AudioSpec())
    batch = batch.to(options.device)
    before = torch.cuda.memory_allocated() / 2**20 if on_gpu else status_mib("VmRSS")
    torch.manual_seed(0)
    side = SIDES[name](widths, options)
    shape = side.step(batch)
    seconds, own_seconds = [], []
    for _ in range(STEPS):
        start, own = time.perf_counter(), time.process_time()
        side.step(batch)
        if on_gpu:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
        own_seconds.append(time.process_time() - own)
    peak = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else status_mib("VmHWM")
    flops, kept = 0, Kept(side.modules.values())
    if options.counts:  # a step of its own: hooks cost time and memory
        hooks = torch.autograd.graph.saved_tensors_hooks(kept, lambda value: value)
        with nullcontext() if options.compile else hooks, FlopCounterMode(display=False) as work:
            side.step(batch)
        flops = work.get_total_flops()
    moments = [state["exp_avg"].numel() for state in side.optimizer.state.values()]
    parameters = {name: count(module) for name, module in side.modules.items()}
    return {
        "parameters": parameters,
        "shape": shape,
        "built": side.built_s,
        "seconds": seconds,
        "own_seconds": own_seconds,
        "peak": peak - before,
        "held": 4 * (sum(parameters.values()) + 3 * sum(moments)) / 2**20,
        "kept": kept.mib(),
        "flops": flops,
        "card": torch.cuda.get_device_name() if on_gpu else "",
    }


def in_own_process(name: str, options: argparse.Namespace, *, counts: bool) -> dict[str, Any]:
    """:func:`measure` in a process of its own."""
    command = [sys.executable, __file__, *sys.argv[1:], "--side", name]
    done = subprocess.run(
        command + ["--counts"] * counts, check=True, stdout=subprocess.PIPE, text=True
    )
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def compare_counts(parameters: dict[str, int]) -> None:
    """The plain structure has the released one's parameters, to a hundredth."""
    for name, released in RELEASED.items():
        off = parameters[name] / released - 1
        print(f"published {name}: {parameters[name]:,} parameters, released {off:+.2%}")
        assert abs(off) < NEAR, (name, parameters[name], released)


def show(rounds: dict[str, list[dict[str, Any]]], options: argparse.Namespace) -> None:
    print(ROW.format("", *rounds, "ratio", "recomputed"))
    rows: dict[str, list[float]] = {}

    def over(name: str, of: Callable[[list[dict[str, Any]]], float]) -> None:
        rows[name] = [of(figures) for figures in rounds.values()]

    def steps(figures: list[dict[str, Any]], clock: str) -> list[float]:
        return [second for figure in figures for second in figure[clock]]

    over("step, fastest, s", lambda figures: min(steps(figures, "seconds")))
    over("step, median, s", lambda figures: median(steps(figures, "seconds")))
    over("step, fastest, processor s", lambda figures: min(steps(figures, "own_seconds")))
    over("step, median, processor s", lambda figures: median(steps(figures, "own_seconds")))
    over("peak memory, MiB", lambda figures: median(f["peak"] for f in figures))
    over("  of it parameters, MiB", lambda figures: figures[0]["held"])
    over("  kept for backward, MiB", lambda figures: figures[0]["kept"])
    over("construction, s", lambda figures: min(f["built"] for f in figures))
    over("parameters, millions", lambda figures: sum(figures[0]["parameters"].values()) / 1e6)
    over("work of a step, TFLOP", lambda figures: figures[0]["flops"] / 1e12)
    for name, figures in rows.items():
        ratios = [f"{figures[0] / own:.2f}" if own else "–" for own in figures[1:]]
        print(ROW.format(name, *(f"{figure:.2f}" for figure in figures), *ratios))
    card = rounds["redub"][0]["card"]
    peaks = next((both for name, both in PEAK_TFLOPS.items() if name in card), None)
    if card and peaks:
        rates = [
            rows["work of a step, TFLOP"][side] / rows["step, fastest, s"][side]
            for side in range(len(SIDES))
        ]
        shares = [f"{rate / peaks[options.bf16]:.1%}" for rate in rates]
        print(ROW.format(f"of the {card}'s peak rate", *shares, "", ""))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=32, help="lines")
    parser.add_argument("--seconds", type=float, default=2.5, help="of a line")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--small", action="store_true", help="eight lines of 2 s")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--compile", action="store_true", help="redub alone")
    parser.add_argument("--side", choices=tuple(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--counts", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.small:
        options.batch, options.seconds = 8, 2.0
    return options


def main() -> None:
    options = parsed()
    if options.side is not None:
        print(json.dumps(measure(options.side, options)))
        return
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in SIDES}
    for number in range(options.rounds):
        for name, figures in rounds.items():
            figures.append(in_own_process(name, options, counts=number == 0))
            took = ", ".join(f"{second:.2f}" for second in figures[-1]["own_seconds"])
            print(f"round {number + 1}, {name}: {took} processor s", file=sys.stderr, flush=True)
    first = {name: figures[0] for name, figures in rounds.items()}
    assert len({tuple(figures["shape"]) for figures in first.values()}) == 1, first
    lines, frames, channels = first["redub"]["shape"]
    print(
        f"{lines} lines, mel of all sides ({lines}, {frames}, {channels}), {options.device}, "
        f"{'bfloat16' if options.bf16 else 'float32'}, {options.threads} threads, "
        f"{STEPS * options.rounds} steps each"
    )
    compare_counts(first["published"]["parameters"])
    show(rounds, options)


if __name__ == "__main__":
    main()
