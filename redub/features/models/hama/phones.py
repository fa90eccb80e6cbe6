"""hama's IPA labels as the phones of ARPAbet, and what is heard in their probabilities.

hama has 189 labels for several languages, a word border and CTC's blank. :data:`IPA` has those that
are a phone of American or British English; all others count as no phone.
Source: the label list of package ``hama`` 1.7.0 (``g2p_vocab.json``, ``decoder``); ARPAbet's IPA
values as in the CMU Pronouncing Dictionary.
Letters: F frames of the network.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from redub.core.types import FloatArray

IPA: dict[str, dict[str, int]] = {
    "AA": {"ɑ": 80, "ɒ": 81, "a": 7},
    "AE": {"æ": 66},
    "AH": {"ʌ": 125, "ə": 89, "ɐ": 79},
    "AO": {"ɔ": 83},
    "AW": {"aʊ": 9},
    "AY": {"aɪ": 8},
    "B": {"b": 10},
    "CH": {"t͡ʃ": 47},
    "D": {"d": 12},
    "DH": {"ð": 69},
    "EH": {"ɛ": 91},
    "ER": {"ɝ": 93, "ɚ": 90, "ɜ": 92},
    "EY": {"eɪ": 16, "e": 14},
    "F": {"f": 17},
    "G": {"ɡ": 95, "g": 18},
    "HH": {"h": 19, "ɦ": 99},
    "IH": {"ɪ": 101, "ɨ": 100},
    "IY": {"i": 20},
    "JH": {"d͡ʒ": 13},
    "K": {"k": 27, "kʰ": 28},
    "L": {"l": 30, "ɫ": 103},
    "M": {"m": 31},
    "N": {"n": 32},
    "NG": {"ŋ": 75},
    "OW": {"oʊ": 34, "o": 33},
    "OY": {"ɔɪ": 84},
    "P": {"p": 35, "pʰ": 36},
    "R": {"ɹ": 113, "r": 38, "ɻ": 114},
    "S": {"s": 39},
    "SH": {"ʃ": 120},
    "T": {"t": 41, "tʰ": 42, "ɾ": 116},
    "TH": {"θ": 173},
    "UH": {"ʊ": 123},
    "UW": {"u": 48, "ʉ": 122},
    "V": {"v": 49},
    "W": {"w": 50},
    "Y": {"j": 21},
    "Z": {"z": 57},
    "ZH": {"ʒ": 130},
}
"""Phone of ARPAbet → the IPA labels that mean it → their places in the network's output."""

PHONES: tuple[str, ...] = tuple(IPA)
NO_PHONE = len(PHONES)
"""The column of :func:`phone_scores` after those of :data:`PHONES`."""


def phone_scores(scores: FloatArray) -> NDArray[np.float64]:
    """Add up the labels of each phone.

    Args:
        scores: (F, 191) natural log-probabilities of the network.

    Returns:
        (F, 40) natural log-probabilities: the phones in the order of :data:`PHONES`, then all that
        is no phone (blank, word border, marks, phones of other languages).
    """
    places = [sorted(labels.values()) for labels in IPA.values()]
    rest = sorted(set(range(scores.shape[1])).difference(*places))
    wide = np.asarray(scores, dtype=np.float64)
    columns = [np.logaddexp.reduce(wide[:, own], axis=1) for own in (*places, rest)]
    return np.stack(columns, axis=1)


def heard_phones(scores: NDArray[np.float64]) -> tuple[str, ...]:
    """Return the phones that are heard: the most probable column of each frame, read as CTC.

    Equal columns of adjacent frames are one; what is no phone is left out.

    Args:
        scores: (F, 40) of :func:`phone_scores`.
    """
    best = scores.argmax(axis=1)
    begins = np.diff(best, prepend=-1) != 0
    return tuple(PHONES[place] for place in best[begins] if place != NO_PHONE)
