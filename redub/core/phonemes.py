"""The phoneme table: 84 ARPAbet symbols in CMUdict order, then ``sp``, ``spn``, ``sil``.

Source: the inventory of the HPMDubbing / StyleDubber / Authentic-Dubber family. Theirs starts at 0,
where the pad lives too; ours starts at 1, so that padding is no phoneme.
"""

from __future__ import annotations

from redub.core.config import nearest
from redub.core.errors import ConfigError

VOWELS = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW")
CONSONANTS = (
    "B", "CH", "D", "DH", "F", "G", "HH", "JH", "K", "L", "M", "N", "NG", "P", "R", "S", "SH",
    "T", "TH", "V", "W", "Y", "Z", "ZH",
)  # fmt: skip
STRESSES = ("", "0", "1", "2")  # none marked, unstressed, primary, secondary
PAUSES = ("sp", "spn", "sil")  # short pause, spoken noise, silence

SYMBOLS: tuple[str, ...] = (
    *sorted([vowel + stress for vowel in VOWELS for stress in STRESSES] + list(CONSONANTS)),
    *PAUSES,
)
PAD = 0
TABLE_SIZE = len(SYMBOLS) + 1  # rows of an embedding table, the pad included

_IDS = {symbol: place + 1 for place, symbol in enumerate(SYMBOLS)}

SIL = _IDS["sil"]


def id_of(symbol: str) -> int:
    """1–87. Raises ConfigError (E-CFG-PHONEME) with the nearest known symbol."""
    if symbol not in _IDS:
        raise ConfigError(
            f"unknown phoneme '{symbol}'; {nearest(symbol, _IDS)}", code="E-CFG-PHONEME"
        )
    return _IDS[symbol]


def symbol_of(phoneme: int) -> str:
    """The symbol of an id 1–87. Raises ConfigError (E-CFG-PHONEME) for the pad and any other."""
    if not 0 < phoneme < TABLE_SIZE:
        raise ConfigError(
            f"phoneme id {phoneme}; wanted 1 to {TABLE_SIZE - 1}", code="E-CFG-PHONEME"
        )
    return SYMBOLS[phoneme - 1]


def is_pause(phoneme: int) -> bool:
    """Whether the id is ``sp``, ``spn`` or ``sil``."""
    return phoneme > len(SYMBOLS) - len(PAUSES)
