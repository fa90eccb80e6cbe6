"""Base class of vocoders with trained weights: runs a generator and checks its output.

Letters: T mel frames, C mel channels, S samples.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from redub.core.errors import ConfigError, ModelRefusedError
from redub.core.threads import torch_threads
from redub.core.types import AudioSpec, FloatArray, Waveform


class NeuralVocoder:
    """Converts log-mel to a waveform by a generator whose weights are loaded after construction.

    ``generator`` converts (1, T, C) to (1, S). It is built on torch's ``meta`` device, without
    memory, because all its tensors come from a checkpoint; before loading it cannot be used.
    """

    def __init__(self, generator: nn.Module, audio: AudioSpec, *, name: str) -> None:
        self.generator, self.audio, self.name = generator.eval(), audio, name
        self.device, self.threads = torch.device("cpu"), 1

    def on(self, device: Any, *, threads: int = 1) -> Self:
        """Move the generator to a device; ``threads``: number of threads on the CPU."""
        self.device, self.threads = torch.device(device), threads
        self.generator.to(self.device)
        return self

    def vocode(self, mel: FloatArray) -> Waveform:
        """Convert (T, C) natural log-mel to exactly T hops of samples, clipped to [-1, 1].

        T may be 0. The same mel gives the same samples on the same device and number of threads.

        Raises:
            ConfigError: E-CFG-MEL, another number of mel channels, or values that are not finite.
            ModelRefusedError: E-MODEL-EMPTY, no weights were loaded; E-MODEL-LENGTH, the generator
                made another length than T hops; E-MODEL-FILE, samples that are not finite.
        """
        self._check_mel(mel)
        if any(value.is_meta for value in self.generator.state_dict().values()):
            raise ModelRefusedError(
                f"{self.name} has no weights yet; load a checkpoint first",
                code="E-MODEL-EMPTY",
            )
        if not len(mel):
            return Waveform(np.zeros(0, np.float32), self.audio.sample_rate_hz)
        given = torch.tensor(mel, dtype=torch.float32)[None]  # (1, T, C)
        with torch.inference_mode(), torch_threads(self.threads), _repeatable(self.device):
            spoken = self.generator(given.to(self.device))  # (1, S)
        samples: FloatArray = spoken[0].float().cpu().numpy()
        wanted = len(mel) * self.audio.hop_samples
        if len(samples) != wanted:
            raise ModelRefusedError(
                f"{self.name} made {len(samples)} samples of {len(mel)} frames, wanted {wanted}; "
                "its upsampling is padded wrongly",
                code="E-MODEL-LENGTH",
            )
        if not np.isfinite(samples).all():
            raise ModelRefusedError(
                f"{self.name} made samples that are not finite; its weights are damaged",
                code="E-MODEL-FILE",
            )
        return Waveform(np.clip(samples, -1.0, 1.0), self.audio.sample_rate_hz)

    def _check_mel(self, mel: FloatArray) -> None:
        if mel.ndim != 2 or mel.shape[1] != self.audio.mel_channels:
            raise ConfigError(
                f"a mel of shape {mel.shape}; {self.name} needs (frames, "
                f"{self.audio.mel_channels})",
                code="E-CFG-MEL",
            )
        if not np.isfinite(mel).all():
            raise ConfigError(f"the mel for {self.name} is not finite", code="E-CFG-MEL")


@contextlib.contextmanager
def _repeatable(device: torch.device) -> Iterator[None]:
    """On a GPU: use deterministic algorithms in full float32 precision."""
    if device.type != "cuda":
        yield
        return
    with torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    ):
        yield
