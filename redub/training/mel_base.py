"""Fit the base mel of ``model/blocks/mel_base.py`` to recorded utterances: one linear system.

Letters: R rows of the table, C mel channels, L utterances, S speaker width, Z numbers of a voice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.linalg
import scipy.sparse
import torch

from redub.core.types import FloatArray
from redub.model.blocks.mel_base import VOICE_NUMBERS, MelBase
from redub.training.data.lines import DubbingLine, FeatureScaler

RIDGE = 3.0
"""Ridge weight in frames: a row with this many frames gets half of their mean."""

MOST_LINES = 2_000  # enough for the rows of the table
STILL = 1e-6  # fraction of the total variance below which an axis is rounding noise


def fit_mel_base(base: MelBase, lines: Sequence[DubbingLine], scaler: FeatureScaler) -> None:
    """Fill the table by ridge regression on the standardised mels of recorded utterances.

    The table minimises the summed squared error over all frames plus ``RIDGE`` times its squared
    norm. A voice is described by the principal components of the speaker vectors, scaled so that
    the first one has a deviation of 1. At most ``MOST_LINES`` utterances, spread evenly, are read.
    """
    chosen = lines[:: -(-len(lines) // MOST_LINES)]
    speakers = np.stack([scaler.apply("speaker", line.speaker_vector) for line in chosen])
    mean, axes = _axes(speakers)
    base.voice_mean.copy_(torch.from_numpy(mean))
    base.voice_axes.copy_(torch.from_numpy(axes))
    device, (rows, channels) = base.table.device, base.table.shape
    gram = scipy.sparse.csr_matrix((rows, rows), dtype=np.float64)
    target = np.zeros((rows, channels))
    for line, speaker in zip(chosen, speakers, strict=True):
        if line.mel is None or line.durations is None:
            continue
        index, weight = base.terms(
            torch.tensor(np.asarray(line.phonemes, np.int64), device=device)[None],
            torch.tensor(np.asarray(line.durations, np.int64), device=device)[None],
            torch.from_numpy(speaker)[None].to(device),
            line.mel_frames,
        )
        places, amounts = index[0].cpu().numpy(), weight[0].cpu().numpy().astype(np.float64)
        starts = np.arange(0, places.size + 1, places.shape[1])
        design = scipy.sparse.csr_matrix(
            (amounts.ravel(), places.ravel(), starts), shape=(line.mel_frames, rows)
        )
        gram = gram + design.T @ design
        target += design.T @ scaler.apply("mel", np.asarray(line.mel)).astype(np.float64)
    # Rows without any frame stay 0 and are left out of the linear system.
    used = np.flatnonzero(gram.diagonal() > 0)
    system = gram[used][:, used].toarray()
    system[np.diag_indices_from(system)] += RIDGE
    table = np.zeros((rows, channels), np.float32)
    table[used] = scipy.linalg.solve(system, target[used], assume_a="pos")
    base.table.copy_(torch.from_numpy(table))


def _axes(speakers: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean (S,) and axes (S, Z) of speaker vectors (L, S); an axis without variance is 0."""
    exact = speakers.astype(np.float64)
    mean = exact.mean(0)
    _, lengths, directions = np.linalg.svd(exact - mean, full_matrices=False)
    axes = np.zeros((exact.shape[1], VOICE_NUMBERS))
    deviation = lengths / np.sqrt(len(exact))
    kept = [
        z
        for z in range(min(VOICE_NUMBERS, len(lengths)))
        if deviation[z] ** 2 > STILL * exact.shape[1]
    ]
    for z in kept:
        sign = np.sign(directions[z][np.argmax(np.abs(directions[z]))])  # SVD leaves the sign open
        axes[:, z] = sign * directions[z] / deviation[0]
    return mean.astype(np.float32), axes.astype(np.float32)
