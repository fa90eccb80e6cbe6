"""BS.1770 loudness against the numbers the recommendation itself gives."""

import numpy as np
import pytest

from redub.core.types import Waveform
from redub.features.sound.loudness import integrated_loudness


def sine(level_db: float, *, rate: int, seconds: float = 3.0, hz: float = 997.0) -> Waveform:
    t = np.arange(round(rate * seconds)) / rate
    samples = 10 ** (level_db / 20) * np.sin(2 * np.pi * hz * t)
    return Waveform(samples.astype(np.float32), rate)


@pytest.mark.parametrize("rate", [16_000, 22_050, 48_000])
@pytest.mark.parametrize("level_db", [0.0, -20.0])
def test_a_997_hz_sine_reads_three_below_its_peak(rate, level_db):
    # BS.1770-4: a 0 dBFS 997 Hz sine in one front channel reads -3.01 LKFS.
    assert integrated_loudness(sine(level_db, rate=rate)) == pytest.approx(level_db - 3.01, abs=0.1)


def test_gain_moves_loudness_by_itself():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.1, 32_000).astype(np.float32)
    a = integrated_loudness(Waveform(noise, 16_000))
    b = integrated_loudness(Waveform(noise * 0.5, 16_000))
    assert a - b == pytest.approx(6.0206, abs=1e-3)


def test_pauses_do_not_count():
    speech = sine(-20, rate=16_000, seconds=2).samples
    padded = np.concatenate([speech, np.zeros(16_000 * 6, np.float32)])
    both = (
        integrated_loudness(Waveform(padded, 16_000)),
        integrated_loudness(Waveform(speech, 16_000)),
    )
    assert both[0] == pytest.approx(both[1], abs=0.5)


@pytest.mark.parametrize("samples", [0, 100, 64_000])
def test_silence_has_no_loudness(samples):
    assert integrated_loudness(Waveform(np.zeros(samples, np.float32), 16_000)) is None
