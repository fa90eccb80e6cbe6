"""What vocoders with trained weights share: a generator on a device, and the law of lengths.

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
    """Log-mel in, waveform out, by a generator whose weights are loaded after it was built.

    ``generator`` takes (1, T, C) and gives (1, S). It is built without memory (on torch's ``meta``
    device), because every tensor of it comes from a checkpoint; until then it cannot speak.
    """

    def __init__(self, generator: nn.Module, audio: AudioSpec, *, name: str) -> None:
        self.generator, self.audio, self.name = generator.eval(), audio, name
        self.device, self.threads = torch.device("cpu"), 1

    def on(self, device: Any, *, threads: int = 1) -> Self:
        """Speak on a device; on the CPU with so many threads."""
        self.device, self.threads = torch.device(device), threads
        self.generator.to(self.device)
        return self

    def vocode(self, mel: FloatArray) -> Waveform:
        """Make (T, C) natural log-mel audible; exactly T hops of samples, in [-1, 1].

        The same mel gives the same samples on the same device and number of threads.

        Raises:
            ConfigError: E-CFG-MEL, another number of mel channels, or values that are not finite.
            ModelRefusedError: E-MODEL-EMPTY, no weights were loaded; E-MODEL-LENGTH, another length
                than T hops; E-MODEL-FILE, samples that are not finite.
        """
        self._check_mel(mel)
        if any(value.is_meta for value in self.generator.state_dict().values()):
            raise ModelRefusedError(
                f"{self.name} was built and has no weights yet; load a checkpoint first",
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
                f"{self.name} made samples that are no numbers; its weights are damaged",
                code="E-MODEL-FILE",
            )
        return Waveform(np.clip(samples, -1.0, 1.0), self.audio.sample_rate_hz)

    def _check_mel(self, mel: FloatArray) -> None:
        if mel.ndim != 2 or mel.shape[1] != self.audio.mel_channels:
            raise ConfigError(
                f"a mel of shape {mel.shape}; {self.name} wants (frames, "
                f"{self.audio.mel_channels})",
                code="E-CFG-MEL",
            )
        if not np.isfinite(mel).all():
            raise ConfigError(f"the mel for {self.name} is not finite", code="E-CFG-MEL")


@contextlib.contextmanager
def _repeatable(device: torch.device) -> Iterator[None]:
    """On a GPU: the same sums every time, and in full precision."""
    if device.type != "cuda":
        yield
        return
    with torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    ):
        yield
