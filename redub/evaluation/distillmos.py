"""DistillMOS: listeners' rating of the quality of speech, predicted from the sound alone.

A network of Microsoft predicts one mean opinion score from 1 to 5. It learned to answer like a
larger network of wav2vec 2.0 (XLS-R), on noisy, coded and enhanced speech, telephone calls and the
output of speech synthesisers. It rates how the speech sounds, and neither its emotion, nor whose
voice it is, nor its words. Its weights come from the package ``distillmos`` (`redub weights get
distillmos`); the network is redub's port to PyTorch.

Source: Stahl, Gamper, "Distillation and Pruning for Scalable Self-Supervised Representation-Based
Speech Quality Assessment" (arXiv:2502.05356); windows and peak normalisation are those of the
package. Letter: S samples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from redub.core.metric import Absent
from redub.core.threads import torch_threads
from redub.core.types import FloatArray
from redub.evaluation.inputs import sound_at
from redub.evaluation.takes import TakeSignals, without_weights
from redub.features.models.distillmos.windows import windows_of
from redub.features.weights.folder import WeightFolder

if TYPE_CHECKING:
    from redub.features.models.distillmos.network import SpeechQuality

PACKAGE = "distillmos"
RATE_HZ = 16_000


def distillmos(samples: FloatArray, sample_rate_hz: int, weights: WeightFolder) -> float:
    """Predict the rating of (S,) samples: 1 (bad) to 5 (excellent).

    The rating does not depend on the level: every window is divided by its peak.

    Args:
        weights: the folder with ``distill_mos_v7.pt``.

    Raises:
        MetricInputError: no sample, or one that is not finite.
    """
    import torch

    sound = sound_at(RATE_HZ, samples, sample_rate_hz)
    network = _network(weights)
    windows = torch.from_numpy(windows_of(sound))
    # The number of threads changes the last bits of the sums. One window at a time takes three
    # quarters of the CPU time of a batch of eight windows, and a sixth of its memory.
    with torch_threads(1), torch.inference_mode():
        ratings = torch.cat([network(window[None]) for window in windows])
    return float(ratings.mean())


def _network(weights: WeightFolder) -> SpeechQuality:
    """The network of a folder; the last one stays in memory."""
    if not _LAST or _LAST[0][0] != weights:
        from redub.features.models.distillmos.network import load_speech_quality

        _LAST[:] = [(weights, load_speech_quality(weights))]
    return _LAST[0][1]


_LAST: list[tuple[WeightFolder, SpeechQuality]] = []


def distillmos_of(take: TakeSignals) -> float | Absent:
    """The rating of a take."""
    weights = take.weights.get(PACKAGE)
    if weights is None:
        return without_weights(PACKAGE)
    return distillmos(take.waveform.samples, take.waveform.sample_rate_hz, weights)
