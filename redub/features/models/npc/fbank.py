"""Log-mel filterbank features as in Kaldi, the input of NPC.

Source: the settings of s3prl's NPC front end (Hamming window, no dither, 20 Hz to half the rate),
which uses torchaudio's function compatible with Kaldi. Letters: S samples, R rows, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from redub.core.errors import FeatureAbsent
from redub.core.extras import optional
from redub.core.types import FloatArray
from redub.features.sound.speech_input import RATE_HZ

CMVN_FLOOR = 1e-10  # added to the standard deviation, so that a constant channel becomes 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FbankSpec:
    """The front end settings of a checkpoint (``config.data.audio``)."""

    channels: int = 80
    window_ms: float = 25.0
    shift_ms: float = 10.0
    normalised: bool = True

    @property
    def window(self) -> int:
        """Window length in samples at 16 kHz."""
        return round(self.window_ms * RATE_HZ / 1000)

    @property
    def shift(self) -> int:
        """Hop in samples at 16 kHz."""
        return round(self.shift_ms * RATE_HZ / 1000)


def fbank(speech: FloatArray, spec: FbankSpec) -> FloatArray:
    """Compute (R, C) float32 log-mel energies of (S,) samples at 16 kHz in [-1, 1].

    ``R = 1 + (S - window) // shift``: only complete windows. If ``spec.normalised``, every channel
    has mean 0 and standard deviation 1 over the utterance.

    Raises:
        FeatureAbsent: E-FEAT-SHORT, fewer than two rows: one has no spread.
        MissingExtraError: the extra 'paper' is not installed.
    """
    if len(speech) < spec.window + spec.shift:
        raise FeatureAbsent(
            f"{len(speech)} samples of sound at 16 kHz, wanted {spec.window + spec.shift}",
            code="E-FEAT-SHORT",
        )
    kaldi = optional("kaldi_native_fbank", extra="paper", purpose="filterbank rows of NPC")
    options = kaldi.FbankOptions()
    options.frame_opts.samp_freq = RATE_HZ
    options.frame_opts.frame_length_ms = spec.window_ms
    options.frame_opts.frame_shift_ms = spec.shift_ms
    options.frame_opts.window_type = "hamming"
    options.frame_opts.dither = 0.0
    options.frame_opts.snip_edges = True
    options.mel_opts.num_bins = spec.channels
    options.mel_opts.low_freq = 20.0
    options.mel_opts.high_freq = 0.0  # half the sample rate
    bank = kaldi.OnlineFbank(options)
    bank.accept_waveform(RATE_HZ, speech)
    bank.input_finished()
    rows = np.stack([bank.get_frame(r) for r in range(bank.num_frames_ready)])
    return normalised(rows) if spec.normalised else rows.astype(np.float32)


def normalised(rows: FloatArray) -> FloatArray:
    """Apply cepstral mean and variance normalisation over the utterance (unbiased variance).

    It uses double precision, in which the mean of equal numbers is exact: a constant channel (sound
    without high frequencies) becomes 0 and not a rounding error.
    """
    exact = rows.astype(np.float64)
    spread = exact.std(axis=0, ddof=1)
    scaled: FloatArray = ((exact - exact.mean(axis=0)) / (CMVN_FLOOR + spread)).astype(np.float32)
    return scaled
