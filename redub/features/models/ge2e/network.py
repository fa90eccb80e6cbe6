"""GE2E speaker encoder: an LSTM over windows of 1.6 s of mel, and the windows of an utterance.

Source: Generalized End-to-End Loss for Speaker Verification (arXiv:1710.10467); sizes, windows and
level normalisation are those of the public Resemblyzer checkpoint. Letters: B windows, S samples,
R mel rows (10 ms), C channels, D width.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from redub.core.types import AudioSpec, FloatArray
from redub.features.sound.spectrum import mel_filters, window_of
from redub.features.sound.speech_input import RATE_HZ, SHIFT

WIDTH = 256
LAYERS = 3
WINDOW_ROWS = 160
MEL = AudioSpec(
    sample_rate_hz=RATE_HZ, n_fft=400, hop_samples=SHIFT, win_samples=400, mel_channels=40,
    fmin_hz=0.0, fmax_hz=8000.0,
)  # fmt: skip
LEVEL_DB = -30.0  # quieter utterances are amplified to this level; full scale is 0
SIMILARITY = (r"similarity_weight", r"similarity_bias")
"""Scalars of the training loss, which the published file contains, too."""


class SpeakerEncoder(nn.Module):
    """LSTM; the last state of its top layer, a linear layer, ReLU and L2 normalisation follow."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(MEL.mel_channels, WIDTH, LAYERS, batch_first=True)
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, mel: Tensor) -> Tensor:
        """Encode mel windows: (B, WINDOW_ROWS, C) → (B, D) of norm 1."""
        _, (states, _) = self.lstm(mel)
        return functional.normalize(torch.relu(self.linear(states[-1])), dim=1)


def raised(speech: FloatArray) -> FloatArray:
    """Amplify samples to an RMS level of −30 dB of full scale, if they are below it."""
    level_db = 10.0 * np.log10(np.mean(np.square(speech, dtype=np.float64)))
    gain = 10.0 ** (max(0.0, LEVEL_DB - level_db) / 20.0)
    louder: FloatArray = (speech * gain).astype(np.float32)
    return louder


def window_starts(samples: int, windows_per_s: float, coverage: float) -> list[int]:
    """Compute the first rows of the windows of an utterance.

    They are ``round(100 / windows_per_s)`` rows apart until the end is reached. The last window is
    left out if less than ``coverage`` of it is sound, unless it is the only window.
    """
    rows = -(-(samples + 1) // SHIFT)
    step = round(RATE_HZ / windows_per_s / SHIFT)
    starts = list(range(0, max(1, rows - WINDOW_ROWS + step + 1), step))
    covered = (samples - starts[-1] * SHIFT) / (WINDOW_ROWS * SHIFT)
    return starts[:-1] if covered < coverage and len(starts) > 1 else starts


def mel_windows(speech: FloatArray, windows_per_s: float, coverage: float) -> FloatArray:
    """Compute (B, WINDOW_ROWS, C) float32 mel energies of (S,) samples; the end is zero-padded.

    The encoder was trained on energies, not on their logarithm.
    """
    starts = window_starts(len(speech), windows_per_s, coverage)
    missing = (starts[-1] + WINDOW_ROWS) * SHIFT - len(speech)
    mel = mel_energies(np.pad(speech, (0, max(0, missing))))
    windows: FloatArray = np.stack([mel[start : start + WINDOW_ROWS] for start in starts])
    return windows


def mel_energies(speech: FloatArray) -> FloatArray:
    """Compute (R, C) float32, ``R = 1 + S // 160``; row ``r`` is centred on sample ``160 r``."""
    padded = np.pad(speech.astype(np.float64), MEL.n_fft // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, MEL.n_fft)[:: MEL.hop_samples]
    power = np.abs(np.fft.rfft(frames * window_of(MEL), axis=-1)) ** 2  # (R, F)
    energies: FloatArray = (power @ mel_filters(MEL).T).astype(np.float32)
    return energies
