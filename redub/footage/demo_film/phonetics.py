"""Acoustic targets of the ARPABET phones: formants, levels, durations, noise spectra.

Source: vowel formants from Peterson & Barney, "Control methods used in a study of the vowels"
(JASA 24, 1952), men's means; diphthongs and consonants from Klatt, "Software for a cascade/parallel
formant synthesizer" (JASA 67, 1980), tables II and III; inherent and minimal durations from Klatt,
"Synthesis by rule of segmental durations in English sentences" (1979). Levels have no source.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["vowel", "glide", "nasal", "stop", "fricative", "affricate", "aspirate", "silence"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """Acoustic targets of one phone.

    Attributes:
        formants_hz: F1–F3 of a vocal tract of 17 cm.
        duration_ms, shortest_ms: inherent and minimal duration.
        glide_to_hz: F1–F3 at the end of a diphthong; None for other phones.
        voice_db, noise_db: levels of the voiced part and of the friction or burst, relative to an
            open vowel; None if the phone has no such part.
        noise: friction spectrum, a key of :data:`NOISE_BANDS`.
        pull: weights of the targets of F1, F2, F3 against those of adjacent phones.
    """

    kind: Kind
    formants_hz: tuple[float, float, float]
    duration_ms: float
    shortest_ms: float
    glide_to_hz: tuple[float, float, float] | None = None
    voice_db: float | None = None
    noise_db: float | None = None
    noise: str = ""
    pull: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @property
    def is_voiced(self) -> bool:
        """Whether the phone has a voiced part."""
        return self.voice_db is not None


NOISE_BANDS: dict[str, tuple[tuple[float, float, float], ...]] = {
    # (centre Hz, half width Hz, level dB) of the peaks of a friction spectrum
    "labial": ((900.0, 700.0, 0.0), (2500.0, 2000.0, -12.0)),
    "labiodental": ((1600.0, 1500.0, -6.0), (4500.0, 2500.0, -4.0), (7400.0, 1500.0, 0.0)),
    "dental": ((1500.0, 900.0, -9.0), (5500.0, 2000.0, -3.0), (7300.0, 1200.0, 0.0)),
    "alveolar": ((4600.0, 500.0, -6.0), (6300.0, 1100.0, 0.0), (7600.0, 600.0, -3.0)),
    "alveolar burst": ((3800.0, 900.0, -2.0), (5600.0, 1800.0, 0.0)),
    "palatal": ((2700.0, 450.0, 0.0), (3900.0, 900.0, -2.0), (5600.0, 1300.0, -9.0)),
    "velar front": ((2700.0, 450.0, 0.0), (4800.0, 1500.0, -14.0)),
    "velar back": ((1500.0, 350.0, 0.0), (3700.0, 1200.0, -12.0)),
}


def _vowel(
    f1: float, f2: float, f3: float, duration_ms: float, shortest_ms: float, level_db: float,
    to: tuple[float, float, float] | None = None,
) -> Sound:  # fmt: skip
    return Sound(
        kind="vowel", formants_hz=(f1, f2, f3), duration_ms=duration_ms, glide_to_hz=to,
        shortest_ms=shortest_ms, voice_db=level_db,
    )  # fmt: skip


SOUNDS: dict[str, Sound] = {
    "IY": _vowel(270, 2290, 3010, 155, 55, -3.0),
    "IH": _vowel(390, 1990, 2550, 135, 40, -1.5),
    "EH": _vowel(530, 1840, 2480, 150, 70, -0.5),
    "AE": _vowel(660, 1720, 2410, 210, 80, 0.0),
    "AA": _vowel(730, 1090, 2440, 220, 90, 0.0),
    "AO": _vowel(570, 840, 2410, 220, 90, -0.5),
    "UH": _vowel(440, 1020, 2240, 160, 60, -1.5),
    "UW": _vowel(300, 870, 2240, 190, 70, -3.0),
    "AH": _vowel(640, 1190, 2390, 130, 45, -0.5),
    "ER": _vowel(490, 1350, 1690, 180, 70, -1.5),
    "EY": _vowel(480, 1900, 2550, 190, 80, -1.0, to=(330, 2150, 2700)),
    "AY": _vowel(660, 1200, 2550, 240, 130, 0.0, to=(400, 1950, 2550)),
    "OY": _vowel(550, 960, 2400, 260, 140, -0.5, to=(380, 1850, 2450)),
    "AW": _vowel(680, 1250, 2550, 240, 100, 0.0, to=(420, 940, 2350)),
    "OW": _vowel(540, 1100, 2300, 210, 80, -0.5, to=(440, 880, 2300)),
    "W": Sound(
        kind="glide", formants_hz=(290, 650, 2150), duration_ms=80, shortest_ms=55, voice_db=-7,
        pull=(1.2, 1.3, 0.8),
    ),
    "Y": Sound(
        kind="glide", formants_hz=(260, 2200, 3020), duration_ms=75, shortest_ms=45, voice_db=-6,
        pull=(1.2, 1.3, 1.0),
    ),
    "R": Sound(
        kind="glide", formants_hz=(320, 1100, 1450), duration_ms=80, shortest_ms=45, voice_db=-6,
        pull=(1.0, 1.2, 1.6),
    ),
    "L": Sound(
        kind="glide", formants_hz=(330, 1050, 2850), duration_ms=80, shortest_ms=45, voice_db=-6,
        pull=(1.2, 1.1, 1.0),
    ),
    "M": Sound(
        kind="nasal", formants_hz=(480, 1050, 2130), duration_ms=75, shortest_ms=50, voice_db=-4,
        pull=(1.0, 0.6, 0.6),
    ),
    "N": Sound(
        kind="nasal", formants_hz=(480, 1650, 2600), duration_ms=70, shortest_ms=45, voice_db=-4,
        pull=(1.0, 0.9, 0.8),
    ),
    "NG": Sound(
        kind="nasal", formants_hz=(480, 2050, 2700), duration_ms=90, shortest_ms=55, voice_db=-4,
        pull=(1.0, 0.7, 0.7),
    ),
    "HH": Sound(
        kind="aspirate", formants_hz=(500, 1500, 2500), duration_ms=75, shortest_ms=40,
        noise_db=-12, pull=(0.1, 0.05, 0.05),
    ),
    "P": Sound(
        kind="stop", formants_hz=(300, 1000, 2150), duration_ms=95, shortest_ms=60,
        noise_db=-22, noise="labial", pull=(0.9, 0.5, 0.5),
    ),
    "B": Sound(
        kind="stop", formants_hz=(200, 1000, 2150), duration_ms=85, shortest_ms=50,
        voice_db=-17, noise_db=-22, noise="labial", pull=(1.2, 0.5, 0.5),
    ),
    "T": Sound(
        kind="stop", formants_hz=(300, 1700, 2650), duration_ms=85, shortest_ms=55,
        noise_db=-15, noise="alveolar burst", pull=(0.9, 0.8, 0.8),
    ),
    "D": Sound(
        kind="stop", formants_hz=(200, 1700, 2650), duration_ms=75, shortest_ms=45,
        voice_db=-17, noise_db=-18, noise="alveolar burst", pull=(1.2, 0.8, 0.8),
    ),
    "K": Sound(
        kind="stop", formants_hz=(300, 1900, 2400), duration_ms=90, shortest_ms=60,
        noise_db=-15, noise="velar front", pull=(0.9, 0.45, 0.9),
    ),
    "G": Sound(
        kind="stop", formants_hz=(200, 1900, 2300), duration_ms=80, shortest_ms=55,
        voice_db=-17, noise_db=-18, noise="velar front", pull=(1.2, 0.45, 0.9),
    ),
    "F": Sound(
        kind="fricative", formants_hz=(340, 1100, 2080), duration_ms=100, shortest_ms=65,
        noise_db=-18, noise="labiodental", pull=(0.9, 0.5, 0.5),
    ),
    "V": Sound(
        kind="fricative", formants_hz=(240, 1100, 2080), duration_ms=65, shortest_ms=45,
        voice_db=-10, noise_db=-23, noise="labiodental", pull=(1.1, 0.5, 0.5),
    ),
    "TH": Sound(
        kind="fricative", formants_hz=(320, 1350, 2540), duration_ms=90, shortest_ms=60,
        noise_db=-20, noise="dental", pull=(0.9, 0.7, 0.6),
    ),
    "DH": Sound(
        kind="fricative", formants_hz=(270, 1350, 2540), duration_ms=55, shortest_ms=35,
        voice_db=-9, noise_db=-25, noise="dental", pull=(1.1, 0.7, 0.6),
    ),
    "S": Sound(
        kind="fricative", formants_hz=(320, 1650, 2600), duration_ms=105, shortest_ms=65,
        noise_db=-6, noise="alveolar", pull=(0.9, 0.8, 0.8),
    ),
    "Z": Sound(
        kind="fricative", formants_hz=(240, 1650, 2600), duration_ms=80, shortest_ms=50,
        voice_db=-12, noise_db=-10, noise="alveolar", pull=(1.1, 0.8, 0.8),
    ),
    "SH": Sound(
        kind="fricative", formants_hz=(300, 1840, 2650), duration_ms=105, shortest_ms=75,
        noise_db=-4, noise="palatal", pull=(0.9, 0.8, 0.8),
    ),
    "ZH": Sound(
        kind="fricative", formants_hz=(260, 1840, 2650), duration_ms=75, shortest_ms=50,
        voice_db=-12, noise_db=-9, noise="palatal", pull=(1.1, 0.8, 0.8),
    ),
    "CH": Sound(
        kind="affricate", formants_hz=(300, 1840, 2700), duration_ms=125, shortest_ms=90,
        noise_db=-5, noise="palatal", pull=(0.9, 0.8, 0.8),
    ),
    "JH": Sound(
        kind="affricate", formants_hz=(240, 1840, 2700), duration_ms=105, shortest_ms=75,
        voice_db=-17, noise_db=-8, noise="palatal", pull=(1.1, 0.8, 0.8),
    ),
    "sil": Sound(
        kind="silence", formants_hz=(500, 1500, 2500), duration_ms=80, shortest_ms=40,
        pull=(0.05, 0.05, 0.05),
    ),
}  # fmt: skip

VOWELS = frozenset(symbol for symbol, sound in SOUNDS.items() if sound.kind == "vowel")
BILABIALS = frozenset({"P", "B", "M"})
