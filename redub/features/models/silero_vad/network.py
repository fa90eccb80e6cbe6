"""Silero VAD: the probability of a voice in every 32 ms of sound.

Port of the published 16 kHz network (package ``silero-vad``, MIT) to plain PyTorch; its tensors are
read from the package's safetensors file. Letters: S samples, N chunks of 512 samples.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from redub.core.types import FloatArray
from redub.features.sound.speech_input import RATE_HZ
from redub.features.weights.checkpoint_parts import only_file, tensor_table
from redub.features.weights.folder import WeightFolder, load_strictly

CHUNK = 512
CONTEXT = 64  # samples of the chunk before, in front of each chunk
_PAD = 64  # mirrored samples after it
_WIDTH = 128


class VoiceActivity(nn.Module):
    """Spectrum by convolution, four convolutions, an LSTM over the chunks, and one output."""

    def __init__(self) -> None:
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 258, 256, stride=128, bias=False)
        self.conv1 = nn.Conv1d(129, _WIDTH, 3, padding=1)
        self.conv2 = nn.Conv1d(_WIDTH, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, _WIDTH, 3, padding=1)
        self.lstm_cell = nn.LSTMCell(_WIDTH, _WIDTH)
        self.final_conv = nn.Conv1d(_WIDTH, 1, 1)

    def forward(self, samples: Tensor) -> Tensor:
        """Probabilities (N,) of (S,) samples at 16 kHz; the last chunk is filled with zeros."""
        count = -(-len(samples) // CHUNK)
        filled = functional.pad(samples, (CONTEXT, count * CHUNK - len(samples)))
        chunks = filled.unfold(0, CHUNK + CONTEXT, CHUNK)[:, None]  # (N, 1, CONTEXT + CHUNK)
        seen = self._seen(functional.pad(chunks, (0, _PAD), mode="reflect"))  # (N, width)
        state = (seen.new_zeros(1, _WIDTH), seen.new_zeros(1, _WIDTH))
        states = []
        for row in seen:
            state = self.lstm_cell(row[None], state)
            states.append(state[0])
        hidden = torch.relu(torch.cat(states))[:, :, None]
        return torch.sigmoid(self.final_conv(hidden))[:, 0, 0]

    def _seen(self, chunks: Tensor) -> Tensor:
        """What the convolutions see of each chunk: (N, width), as four steps become one."""
        real, imaginary = self.stft_conv(chunks).chunk(2, dim=1)
        steps = torch.sqrt(real**2 + imaginary**2)
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            steps = torch.relu(layer(steps))
        return steps[:, :, 0]


def load_voice_activity(weights: WeightFolder) -> VoiceActivity:
    """Load the network from its folder, for the CPU: 1.2 MB, some milliseconds a second of sound.

    Raises:
        ModelRefusedError: the file is not the network, or is not trusted.
    """
    name = only_file(weights, ".safetensors")
    network = VoiceActivity()
    load_strictly(network, tensor_table(weights.tensors(name), weights, name), weights)
    return network.eval()


def speech_alone(network: VoiceActivity, samples: FloatArray) -> FloatArray:
    """The speech of (S,) samples at 16 kHz, its pieces joined; empty if there is none."""
    with torch.inference_mode():
        probabilities = network(torch.from_numpy(samples)).numpy()
    return samples[voiced_samples(probabilities, len(samples))]


def voiced_samples(
    probabilities: FloatArray, count: int, *, least: float = 0.5, margin_s: float = 0.1
) -> NDArray[np.bool_]:
    """Which of ``count`` samples are speech: (S,) bool, from (N,) probabilities of the chunks.

    Args:
        least: probability from which a chunk is speech.
        margin_s: kept before and after speech, so that soft beginnings and ends are not cut.
    """
    margin = round(margin_s * RATE_HZ)
    kept = np.zeros(count, dtype=np.bool_)
    for chunk in np.flatnonzero(probabilities >= least):
        kept[max(0, chunk * CHUNK - margin) : (chunk + 1) * CHUNK + margin] = True
    return kept
