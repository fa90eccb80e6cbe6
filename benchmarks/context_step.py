"""One training step of the systems with context, at the published sizes: items a second.

    python benchmarks/context_step.py [--batch 8] [--seconds 2.5] [--steps 3] [--threads 2]
        [--device cpu|cuda] [--bf16] [--compile] [--system m2ci_dubber ...]

A step is forward, losses, backward, clipping and the update, as a run takes it. Lines of random
numbers, 0.8 to 1.2 times ``--seconds``, twelve phonemes a second, both adjacent lines as long as
the line. Each system is built in this process, one after another; one step is taken that does not
count. On a GPU the share of the card's peak rate is printed too.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from authentic_step import PEAK_TFLOPS, PHONEMES_PER_S, VIDEO_FRAMES_PER_S
from packs import PAPER
from torch.utils.flop_counter import FlopCounterMode

from redub.core.types import AudioSpec, FloatArray
from redub.model.batch import DubbingBatch, FeatureWidths
from redub.model.registry import configured, system
from redub.training.data.batching import collate
from redub.training.data.lines import AdjacentUtterance, FeatureScaler, Utterance
from redub.training.losses import LossWeights
from redub.training.presets import training_preset
from redub.training.step import Learner, Precision, train_step

SYSTEMS = ("hpm_dubbing", "mc_dubber", "m2ci_dubber", "dsu_avo", "redub_dubber")
WHOLE = {"face": 512, "text": 1024, "audio": 768}
SOUND_WIDTH = 512


def batch_of(lines: int, seconds: float) -> tuple[DubbingBatch, FeatureWidths]:
    """Lines with adjacent lines of random numbers."""
    draw, sound = np.random.default_rng(0), AudioSpec()
    widths = FeatureWidths(
        sound=sound,
        **{**PAPER, "local_face": 256},
        global_face=WHOLE["face"],
        global_text=WHOLE["text"],
        global_audio=WHOLE["audio"],
        local_audio=SOUND_WIDTH,
    )

    def normal(*shape: int) -> FloatArray:
        return draw.standard_normal(shape, dtype=np.float32)

    made = []
    for number, duration_s in enumerate(draw.uniform(0.8 * seconds, 1.2 * seconds, lines)):
        pictures = round(duration_s * VIDEO_FRAMES_PER_S)
        frames, phonemes = 4 * pictures, round(duration_s * PHONEMES_PER_S)
        durations = np.full(phonemes, frames // phonemes)
        durations[: frames % phonemes] += 1
        ids = draw.integers(2, 85, phonemes)
        near = AdjacentUtterance(
            phonemes=ids,
            lips=normal(pictures, widths.lips),
            local_face=normal(pictures, 256),
            sound=normal(frames, SOUND_WIDTH),
            mel=normal(frames, widths.mel),
            f0_hz=np.full((frames, 1), 120.0, np.float32),
            energy=np.ones((frames, 1), np.float32),
            global_features={name: normal(width) for name, width in WHOLE.items()},
        )
        made.append(
            Utterance(
                clip_id=f"{number}",
                speaker="voice",
                phonemes=ids,
                mel_frames=frames,
                speaker_vector=normal(widths.speaker),
                reference_mels=[normal(frames, widths.mel)],
                lips=normal(pictures, widths.lips),
                local_face=normal(pictures, 256),
                durations=durations,
                mel=normal(frames, widths.mel),
                f0_hz=np.full(frames, 120.0, np.float32),
                energy=np.ones(frames, np.float32),
                sound=normal(frames, SOUND_WIDTH),
                vectors={
                    "scene": normal(widths.scene),
                    "face": normal(widths.face),
                    "text": normal(widths.text),
                },
                context={"previous": near, "following": near},
            )
        )
    batch = collate(made, FeatureScaler({}), widths, reference_frames=400, context=True)
    return batch, widths


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=2.5)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--system", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    batch, widths = batch_of(options.batch, options.seconds)
    batch = batch.to(options.device)
    card = torch.cuda.get_device_name() if options.device == "cuda" else ""
    peaks = next((both for name, both in PEAK_TFLOPS.items() if name in card), None)
    precision: Precision = "bfloat16" if options.bf16 else "float32"
    shape = tuple(batch.frames_valid.shape)
    print(f"{options.batch} lines, frames {shape}, {precision}, {options.threads} threads")
    print(f"{'':14} {'M':>7} {'TFLOP':>7} {'s/step':>8} {'items/s':>8} {'of peak':>8}")
    for name in options.system:
        torch.manual_seed(0)
        training = training_preset(name, "paper")
        model = system(name)(configured(name, "paper"), widths).to(options.device).train()
        learner = Learner(model, training.optimiser, compiled=options.compile)

        def step(learner: Learner = learner, weights: LossWeights = training.losses) -> None:
            train_step(learner, [batch], weights, precision=precision)
            if options.device == "cuda":
                torch.cuda.synchronize()

        with FlopCounterMode(display=False) as counted:
            step()
        seconds = []
        for _ in range(options.steps):
            start = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - start)
        tflop, fastest = counted.get_total_flops() / 1e12, min(seconds)
        share = f"{tflop / fastest / peaks[options.bf16]:.1%}" if peaks else "–"
        parameters = sum(value.numel() for value in model.parameters()) / 1e6
        print(
            f"{name:14} {parameters:7.1f} {tflop:7.2f} {fastest:8.2f} "
            f"{options.batch / fastest:8.2f} {share:>8}",
            flush=True,
        )
        del model, learner


if __name__ == "__main__":
    main()
