"""The phoneme table: 84 ARPAbet symbols in CMUdict order, then ``sp``, ``spn``, ``sil``.

Source: the phoneme inventory of HPMDubbing, StyleDubber and Authentic-Dubber. In their code the
first phoneme and the padding share id 0. Here phonemes start at 1, and 0 is only padding.
"""

from __future__ import annotations

from redub.core.config import nearest
from redub.core.errors import ConfigError

VOWELS = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW")
CONSONANTS = (
    "B", "CH", "D", "DH", "F", "G", "HH", "JH", "K", "L", "M", "N", "NG", "P", "R", "S", "SH",
    "T", "TH", "V", "W", "Y", "Z", "ZH",
)  # fmt: skip
STRESSES = ("", "0", "1", "2")  # not marked, unstressed, primary, secondary
PAUSES = ("sp", "spn", "sil")  # short pause, spoken noise, silence

SYMBOLS: tuple[str, ...] = (
    *sorted([vowel + stress for vowel in VOWELS for stress in STRESSES] + list(CONSONANTS)),
    *PAUSES,
)
PAD = 0
TABLE_SIZE = len(SYMBOLS) + 1  # rows of an embedding table, including the padding row

_IDS = {symbol: place + 1 for place, symbol in enumerate(SYMBOLS)}

SIL = _IDS["sil"]


def id_of(symbol: str) -> int:
    """Return the id (1–87) of a phoneme symbol.

    Raises:
        ConfigError: E-CFG-PHONEME, with the nearest known symbol.
    """
    if symbol not in _IDS:
        raise ConfigError(
            f"unknown phoneme '{symbol}'; {nearest(symbol, _IDS)}", code="E-CFG-PHONEME"
        )
    return _IDS[symbol]


def symbol_of(phoneme: int) -> str:
    """Return the symbol of a phoneme id.

    Raises:
        ConfigError: E-CFG-PHONEME, for the padding id 0 and any other id outside 1–87.
    """
    if not 0 < phoneme < TABLE_SIZE:
        raise ConfigError(
            f"phoneme id {phoneme}; wanted 1 to {TABLE_SIZE - 1}", code="E-CFG-PHONEME"
        )
    return SYMBOLS[phoneme - 1]


def is_pause(phoneme: int) -> bool:
    """Return whether the id is that of ``sp``, ``spn`` or ``sil``."""
    return phoneme > len(SYMBOLS) - len(PAUSES)
