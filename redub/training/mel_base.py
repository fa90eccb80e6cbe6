"""Fit the base mel of ``model/blocks/mel_base.py`` to recorded utterances: two linear systems.

Letters: R rows of the table, C mel channels, L utterances, S speaker width, Z numbers of a voice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse
import torch

from redub.core.types import FloatArray
from redub.model.batch import Prosody
from redub.model.blocks.harmonics import HarmonicTemplate
from redub.model.blocks.mel_base import VOICE_NUMBERS, MelBase, signals_of
from redub.model.systems.style_backbone import StyleBackbone
from redub.training.data.lines import FeatureScaler, Utterance, log_energy, pitch_of
from redub.training.prepare import Recorded

RIDGE = 3.0
"""Ridge weight in frames: a row with this many frames gets half of their mean."""

OWN_RIDGE = 20.0
"""The same for the correction of one phoneme to the shared coefficients."""

MOST_LINES = 2_000  # far more than the tables have rows to fill
STILL = 1e-6  # share of all variance below which an axis of the voices is rounding noise


def prepare_mel_base(
    model: StyleBackbone, recorded: Recorded, scaler: FeatureScaler, seed: int
) -> None:
    """Fill the tables of a new model that has a base mel; see :func:`fit_mel_base`."""
    if model.mel_base is not None:
        harmonics = model.harmonic_template if model.config.prosody else None
        fit_mel_base(model.mel_base, recorded.spread(MOST_LINES), scaler, harmonics)


def fit_mel_base(
    base: MelBase,
    lines: Sequence[Utterance],
    scaler: FeatureScaler,
    harmonics: HarmonicTemplate | None = None,
) -> None:
    """Fill the tables with ridge regressions of the standardised mels of recorded lines.

    The first table minimises the summed squared error over all frames plus ``RIDGE`` times its
    squared norm. The residual is fitted by the signals of prosody, per channel: first with
    coefficients that all phonemes share, then with a correction per phoneme. A voice is described
    by the principal components of the lines' speaker vectors, scaled so that the first has a
    standard deviation of 1. At most ``MOST_LINES`` lines, spread evenly, are read.

    Args:
        harmonics: computes the harmonic template of a pitch; without it the signals are left out.
    """
    chosen = [line for line in lines[:: -(-len(lines) // MOST_LINES)] if line.is_recorded]
    # A value that is not finite is left to the first step, which names the clip.
    finite = [np.isfinite(scaler.apply("mel", np.asarray(line.mel))).all() for line in chosen]
    chosen = [line for line, is_finite in zip(chosen, finite, strict=True) if is_finite]
    if not chosen:
        return
    speakers = np.stack([scaler.apply("speaker", line.speaker_vector) for line in chosen])
    mean, axes = _axes(speakers)
    base.voice_mean.copy_(torch.from_numpy(mean))
    base.voice_axes.copy_(torch.from_numpy(axes))
    base.table.copy_(torch.from_numpy(_table(base, chosen, speakers, scaler)))
    base.by_signal.zero_()
    if harmonics is not None:
        by_signal = _by_signal(base, chosen, scaler, harmonics)
        base.by_signal.copy_(torch.from_numpy(by_signal))


def _table(
    base: MelBase, lines: Sequence[Utterance], speakers: FloatArray, scaler: FeatureScaler
) -> FloatArray:
    """(R, C), the solution of the normal equations; rows without a frame are 0."""
    rows, channels = base.table.shape
    gram = scipy.sparse.csr_matrix((rows, rows), dtype=np.float64)
    target = np.zeros((rows, channels))
    for line, speaker in zip(lines, speakers, strict=True):
        index, weight = base.terms(
            _row(base, line.phonemes),
            _row(base, line.durations),
            _row(base, speaker),
            line.mel_frames,
        )
        places, amounts = index[0].cpu().numpy(), weight[0].cpu().numpy().astype(np.float64)
        starts = np.arange(0, places.size + 1, places.shape[1])
        design = scipy.sparse.csr_matrix(
            (amounts.ravel(), places.ravel(), starts), shape=(line.mel_frames, rows)
        )
        gram = gram + design.T @ design
        target += design.T @ scaler.apply("mel", np.asarray(line.mel)).astype(np.float64)
    used = np.flatnonzero(gram.diagonal() > 0)
    system = gram[used][:, used].toarray()
    system[np.diag_indices_from(system)] += RIDGE
    table = np.zeros((rows, channels), np.float32)
    table[used] = scipy.linalg.solve(system, target[used], assume_a="pos")
    return table


def _by_signal(
    base: MelBase,
    lines: Sequence[Utterance],
    scaler: FeatureScaler,
    harmonics: HarmonicTemplate,
) -> FloatArray:
    """(phonemes, 4, C): coefficients of the signals for each channel and phoneme."""
    phonemes, signals, channels = base.by_signal.shape
    gram = np.zeros((phonemes, channels, signals, signals))
    target = np.zeros((phonemes, channels, signals))
    for line in lines:
        if line.f0_hz is None or line.energy is None:
            continue
        octaves, voiced = pitch_of(np.asarray(line.f0_hz))
        energy = scaler.apply("log_energy", log_energy(np.asarray(line.energy))[:, None])[:, 0]
        prosody = Prosody(_row(base, octaves), _row(base, voiced), _row(base, energy))
        speaker = _row(base, scaler.apply("speaker", line.speaker_vector))
        ids, lengths = _row(base, line.phonemes), _row(base, line.durations)
        guess = base(ids, lengths, speaker, line.mel_frames)[0].cpu().numpy()
        left = scaler.apply("mel", np.asarray(line.mel)).astype(np.float64) - guess
        harmonic_row = harmonics(prosody.pitch, prosody.voiced)
        moved = signals_of(prosody, harmonic_row)[0].cpu().numpy().astype(np.float64)  # (T, 4, C)
        spoken = np.repeat(np.asarray(line.phonemes), np.asarray(line.durations))
        for phoneme in np.unique(spoken):
            there = spoken == phoneme
            gram[phoneme] += np.einsum("tic,tjc->cij", moved[there], moved[there])
            target[phoneme] += np.einsum("tic,tc->ci", moved[there], left[there])
    ridge = np.eye(signals)
    shared = np.linalg.solve(gram.sum(0) + RIDGE * ridge, target.sum(0)[..., None])[..., 0]
    beyond = target - np.einsum("pcij,cj->pci", gram, shared)
    own = np.linalg.solve(gram + OWN_RIDGE * ridge, beyond[..., None])[..., 0]
    found: FloatArray = (shared + own).transpose(0, 2, 1).astype(np.float32)
    return found


def _row(base: MelBase, values: Any) -> torch.Tensor:
    """One line's values as a batch of one, where the tables are."""
    array = np.asarray(values)
    if array.dtype.kind in "iu":
        array = array.astype(np.int64)
    return torch.tensor(array, device=base.table.device)[None]


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
