"""DistillMOS: the quality of speech, from a compressed complex spectrum.

Six convolutions over time and frequency, seven transformer layers, and attention pooling give one
number for each window of 7.68 s.

Source: Stahl, Gamper, "Distillation and Pruning for Scalable Self-Supervised Representation-Based
Speech Quality Assessment" (arXiv:2502.05356). Sizes and names of tensors are those of the package
``distillmos`` 0.9.1 (MIT). Letters: B windows, F frequency bins, T frames of 10 ms, N steps of
20 ms, D width.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from redub.features.models.distillmos.windows import WINDOW
from redub.features.weights.checkpoint_parts import only_file, tensor_table
from redub.features.weights.folder import WeightFolder, load_strictly

HOP, FFT = 160, 320  # samples
EXPONENT = 0.3  # of the magnitudes; the phase is kept
_FLOOR = 1e-12  # of the magnitudes, so that silence becomes 0

_CHANNELS = (2, 64, 64, 128, 256, 256, 256)  # the input is the real and the imaginary part
_BINS = 4  # that are left of 161 after the convolutions
_STEPS = WINDOW // HOP // 2
_WIDTH, _HEADS, _LAYERS = 200, 8, 7

_HEAD = "transformer_pool_attn."
_NAMES = {
    "cnn.cnn.": "convolutions.",
    f"{_HEAD}norm_input.": "norms.0.",
    f"{_HEAD}transformer.norm.": "norms.1.",
    f"{_HEAD}transformer.linear_proj.": "project.",
    f"{_HEAD}transformer.position_encoding.pe": "positions",
    f"{_HEAD}transformer.transformer_encoder.": "encoder.",
    f"{_HEAD}norm_trans.": "last_norm.",
    f"{_HEAD}pool.linear1.": "attention.0.",
    f"{_HEAD}pool.linear2.": "attention.2.",
    f"{_HEAD}pool.linear3.": "rate.",
}
"""Beginning of a tensor's name in the checkpoint → in :class:`SpeechQuality`."""


class SpeechQuality(nn.Module):
    """Windows of sound in, ratings out; the positions limit it to windows of ``WINDOW`` samples."""

    positions: Tensor  # (1, N, D)

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = _convolutions()
        seen = _CHANNELS[-1] * _BINS
        self.norms = nn.Sequential(nn.BatchNorm1d(seen), nn.BatchNorm1d(seen))
        self.project = nn.Linear(seen, _WIDTH)
        self.register_buffer("positions", torch.zeros(1, _STEPS, _WIDTH))
        layer = nn.TransformerEncoderLayer(_WIDTH, _HEADS, 2 * _WIDTH, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, _LAYERS)
        self.last_norm = nn.BatchNorm1d(_WIDTH)
        self.attention = nn.Sequential(
            nn.Linear(_WIDTH, 2 * _WIDTH), nn.ReLU(), nn.Linear(2 * _WIDTH, 1)
        )
        self.rate = nn.Linear(_WIDTH, 1)

    def forward(self, windows: Tensor) -> Tensor:
        """Rate (B, WINDOW) samples at 16 kHz with a peak of 1: (B,), 1 (bad) to 5 (excellent)."""
        maps = self.convolutions(compressed_spectrum(windows))  # (B, channels, bins, N)
        steps = self.project(self.norms(maps.flatten(1, 2)).transpose(1, 2))  # (B, N, D)
        steps = self.encoder(steps + self.positions)
        steps = self.last_norm(steps.transpose(1, 2)).transpose(1, 2)
        shares = self.attention(steps).softmax(dim=1)  # (B, N, 1)
        pooled = (shares * steps).sum(dim=1)  # (B, D)
        return 1.0 + 4.0 * torch.sigmoid(self.rate(pooled)).squeeze(1)


def _convolutions() -> nn.Sequential:
    """Halve the frequency axis in all layers but the first, the time axis in the last one."""
    layers: list[nn.Module] = []
    last = len(_CHANNELS) - 2
    for place, (before, after) in enumerate(pairwise(_CHANNELS)):
        stride = (1 if place == 0 else 2, 2 if place == last else 1)
        layers += [nn.Conv2d(before, after, 3, stride, padding=(0, 1)), nn.LeakyReLU(0.1)]
    return nn.Sequential(*layers)


def compressed_spectrum(samples: Tensor) -> Tensor:
    """Compute (B, 2, F, T) real and imaginary parts of (B, S) samples, ``T = S // HOP``.

    Frame ``t`` is centred on sample ``(t + 1/2) · HOP``; the edges are reflected. Its magnitudes
    are raised to the power of 0.3.
    """
    edge = (FFT - HOP) // 2
    spectrum = torch.stft(
        functional.pad(samples, (edge, edge), mode="reflect"),
        FFT,
        HOP,
        window=torch.hann_window(FFT, device=samples.device),
        center=False,
        return_complex=True,
    )  # (B, F, T)
    gains = spectrum.abs().clamp_min(_FLOOR) ** (EXPONENT - 1.0)
    return torch.view_as_real(spectrum * gains).permute(0, 3, 1, 2)


def load_speech_quality(weights: WeightFolder) -> SpeechQuality:
    """Load the network from its folder, for the CPU: 4.2 M parameters, 17 MB.

    Raises:
        ModelRefusedError: the file is not the network, or is not trusted.
    """
    name = only_file(weights, ".pt")
    state = tensor_table(weights.tensors(name).get("model"), weights, f"'model' of {name}")
    network = SpeechQuality()
    load_strictly(network, {_own_name(n): value for n, value in state.items()}, weights)
    return network.eval()


def _own_name(name: str) -> str:
    """The name of a checkpoint's tensor in :class:`SpeechQuality`; unknown names are kept."""
    for theirs, own in _NAMES.items():
        if name.startswith(theirs):
            return own + name.removeprefix(theirs)
    return name
