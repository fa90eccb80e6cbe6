"""Differentiable log-mel spectrogram of a waveform, for losses.

Gives the same values as the feature ``mel``.

Source: HiFi-GAN (arXiv:2010.05646), public code: power plus 1e-9, Slaney filters, natural
logarithm, floor 1e-5, reflect padding of (n_fft - hop) / 2.

Letters: B batch, S samples, T mel frames, C mel channels, F linear frequencies.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from librosa.filters import mel as mel_filters
from torch import Tensor, nn

from redub.core.types import AudioSpec

FLOOR = 1e-5
LOG_FLOOR = -11.512925  # log 1e-5: value of silence
SOFTENING = 1e-9


class MelSpectrum(nn.Module):
    """Converts (B, S) samples to (B, T, C) natural log-mel, T = S // hop.

    ``fmax_hz``: upper edge of the highest filter; None means that of the project.
    """

    def __init__(self, audio: AudioSpec, *, fmax_hz: float | None = None) -> None:
        super().__init__()
        self.audio = audio
        filters = mel_filters(
            sr=audio.sample_rate_hz,
            n_fft=audio.n_fft,
            n_mels=audio.mel_channels,
            fmin=audio.fmin_hz,
            fmax=audio.fmax_hz if fmax_hz is None else fmax_hz,
        )  # (C, F)
        self.register_buffer("filters", torch.tensor(filters.T, dtype=torch.float32))
        self.register_buffer("window", torch.hann_window(audio.win_samples))

    def forward(self, samples: Tensor) -> Tensor:
        """Compute the log-mel of a batch; S must be larger than the padding, (n_fft - hop) / 2."""
        audio = self.audio
        edge = audio.n_fft - audio.hop_samples
        padded = F.pad(samples[:, None], (edge // 2, edge - edge // 2), mode="reflect")[:, 0]
        spectrum = torch.stft(
            padded,
            audio.n_fft,
            audio.hop_samples,
            audio.win_samples,
            self.get_buffer("window"),
            center=False,
            return_complex=True,
        )  # (B, F, T)
        power = spectrum.real.square() + spectrum.imag.square()
        mel = (power + SOFTENING).sqrt().transpose(1, 2) @ self.get_buffer("filters")
        return mel.clamp_min(FLOOR).log()
