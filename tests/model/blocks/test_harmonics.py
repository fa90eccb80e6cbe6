import numpy as np
import pytest
import torch

from redub.core.types import AudioSpec
from redub.model.blocks.harmonics import (
    HIGHEST_OCTAVE,
    LOWEST_OCTAVE,
    HarmonicTemplate,
    harmonic_row,
)

AUDIO = AudioSpec()


def hz_of_channels():
    """Centres of the 80 slaney mel channels between 0 and 8 kHz, from their definition."""
    step = 200 / 3  # linear up to 1 kHz, then 27 steps per factor of 6.4
    top = 15 + 27 * np.log(8000 / 1000) / np.log(6.4)
    mels = np.linspace(0, top, 82)[1:-1]
    return np.where(mels < 15, mels * step, 1000 * 6.4 ** ((mels - 15) / 27))


def test_the_comb_peaks_where_the_harmonics_are():
    centres = hz_of_channels()
    picture = harmonic_row(300.0, AUDIO)
    for harmonic in (300, 600, 900):
        at = np.abs(centres - harmonic).argmin()
        between = np.abs(centres - (harmonic - 150)).argmin()
        assert picture[at] > 0.3
        assert picture[between] < -2.0


def test_harmonics_too_close_to_be_resolved_leave_no_template():
    # At 4 kHz and above a channel is over 200 Hz wide, so 60 Hz harmonics merge.
    high = harmonic_row(60.0, AUDIO)[hz_of_channels() > 4000]
    assert np.abs(high).max() < 0.15


def test_interpolated_combs_are_close_to_exact_ones_and_unvoiced_frames_are_flat():
    picture = HarmonicTemplate(AUDIO)
    octaves = torch.tensor([[0.013, 0.513, 0.513]])
    drawn = picture(octaves, torch.tensor([[True, True, False]]))
    for place, octave in enumerate((0.013, 0.513)):
        exact = harmonic_row(160.0 * 2**octave, AUDIO)
        assert np.abs(drawn[0, place].numpy() - exact).mean() < 0.05
    assert float(drawn[0, 2].abs().max()) == 0.0


@pytest.mark.parametrize("octave", [LOWEST_OCTAVE - 3, HIGHEST_OCTAVE + 3])
def test_a_pitch_beyond_the_table_is_drawn_at_its_end(octave):
    picture = HarmonicTemplate(AUDIO)
    end = min(max(octave, LOWEST_OCTAVE), HIGHEST_OCTAVE)
    drawn = picture(torch.tensor([[octave]]), torch.tensor([[True]]))[0, 0].numpy()
    assert np.abs(drawn - harmonic_row(160.0 * 2**end, AUDIO)).max() < 0.1
