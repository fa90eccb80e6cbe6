"""How long each vocoder takes for a second of speech; at random weights, since only sizes matter.

RTF: seconds per second of speech, median and least. CPU: processor seconds, all threads, least.

python benchmarks/vocoders.py [--seconds 1] [--repeats 3] [--threads 1 2]
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np
import torch
from torch import nn

from redub.core.types import AudioSpec
from redub.model.vocoder.bigvgan import BigVgan, BigVganConfig
from redub.model.vocoder.griffin_lim import GriffinLim, GriffinLimConfig
from redub.model.vocoder.hifi_gan import UNIVERSAL_V1, HifiGan, HifiGanConfig
from redub.pipeline.stages.vocoder import vocoder_plan

AT_16_KHZ = AudioSpec()
AT_22_KHZ = UNIVERSAL_V1.audio


def with_random_weights(vocoder: Any, threads: int) -> Any:
    """Small numbers in place of trained ones, so that nothing overflows."""
    torch.manual_seed(0)
    generator: nn.Module = vocoder.generator
    state = {
        name: value if not value.is_meta else 0.01 * torch.randn(value.shape)
        for name, value in generator.state_dict().items()
    }
    generator.load_state_dict(state, assign=True)
    return vocoder.on("cpu", threads=threads)


def vocoders(threads: int) -> dict[str, Any]:
    tiny = vocoder_plan(AT_16_KHZ, preset="tiny").generator
    neural = {
        "hifi_gan tiny, 16 kHz": HifiGan(tiny),
        "hifi_gan, 16 kHz, hop 160": HifiGan(HifiGanConfig(audio=AT_16_KHZ)),
        "hifi_gan UNIVERSAL_V1, 22.05 kHz": HifiGan(UNIVERSAL_V1),
        "bigvgan v2, 22.05 kHz": BigVgan(BigVganConfig(audio=AT_22_KHZ)),
    }
    return {
        "griffin_lim, 16 kHz": GriffinLim(GriffinLimConfig(audio=AT_16_KHZ)),
        "griffin_lim, 22.05 kHz": GriffinLim(GriffinLimConfig(audio=AT_22_KHZ)),
        **{name: with_random_weights(one, threads) for name, one in neural.items()},
    }


def parameters(vocoder: Any) -> str:
    if not hasattr(vocoder, "generator"):
        return "–"
    return f"{sum(value.numel() for value in vocoder.generator.parameters()) / 1e6:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    print(f"{'vocoder':34} {'M params':>9} {'threads':>7} {'RTF':>7} {'least':>7} {'CPU':>7}")
    for threads in options.threads:
        torch.set_num_threads(threads)
        for name, vocoder in vocoders(threads).items():
            audio = vocoder.audio
            frames = round(options.seconds * audio.sample_rate_hz / audio.hop_samples)
            mel = np.random.default_rng(0).normal(-5, 2, (frames, 80)).astype(np.float32)
            spoken = vocoder.vocode(mel)  # the first time is never measured
            factors, busy = [], []
            for _ in range(options.repeats):
                began, used = time.perf_counter(), time.process_time()
                vocoder.vocode(mel)
                factors.append((time.perf_counter() - began) / spoken.duration_s)
                busy.append((time.process_time() - used) / spoken.duration_s)
            print(
                f"{name:34} {parameters(vocoder):>9} {threads:>7} "
                f"{statistics.median(factors):>7.3f} {min(factors):>7.3f} {min(busy):>7.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
