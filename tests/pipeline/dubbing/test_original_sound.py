"""The original sound of a dub in two parts: pieces, their borders, and what the lines get."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from redub.core.types import Clip, Waveform
from redub.footage.child import DecoderChild
from redub.pipeline.dubbing.mix import PEAK, with_background
from redub.pipeline.dubbing.original_sound import OVERLAP_S, OriginalSound, pieces
from redub.pipeline.dubbing.take import DubSummary
from redub.pipeline.store.settings import parse_config
from tests.features.made_library import made_library

RATE = 16_000


@given(st.integers(1, 200 * RATE), st.floats(2.0, 40.0))
def test_pieces_cover_the_sound_and_overlap_by_a_second(total, longest_s):
    spans = list(pieces(total, RATE, longest_s))
    assert spans[0][0] == 0
    assert spans[-1][1] == total
    for (_, end), (start, later) in pairwise(spans):
        assert end - start == OVERLAP_S * RATE
        assert later > end
    assert all(start % RATE == 0 for start, _ in spans)
    assert all(end - start <= longest_s * RATE for start, end in spans)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """Separates every sound into two halves."""
    return made_library(tmp_path_factory.mktemp("library") / "df")


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    """33.2 s of sound below 4 kHz, which the way to 48 kHz and back does not change."""
    t = np.arange(round(33.2 * RATE)) / RATE
    samples = 0.3 * np.sin(2 * np.pi * 300 * t) + 0.2 * np.sin(2 * np.pi * (500 + 20 * t) * t)
    path = tmp_path_factory.mktemp("music") / "music.wav"
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    return path, samples.astype(np.float32)


@pytest.mark.parametrize("longest_s", [30, 5])
def test_both_parts_add_up_to_the_sound_and_no_border_is_heard(library, music, longest_s):
    path, samples = music
    project = SimpleNamespace(config=parse_config(f"[footage]\nmax_clip_s = {longest_s}\n"))
    with DecoderChild() as decoder:
        sound = OriginalSound(project, decoder, path, decoder.probe(path), library)
        parts = sound._separated
    total = parts.speech.samples + parts.background.samples
    np.testing.assert_allclose(total, samples, atol=1e-6)
    inside = slice(RATE // 10, -RATE // 10)
    off = (parts.speech.samples - samples / 2)[inside]
    # Level and resampling differ a little between pieces; a missing or doubled second would not.
    assert np.abs(off).max() < 0.02


def test_the_wanted_loudness_is_that_of_the_speech(library, music):
    """Half of the sound is 6.02 dB quieter."""
    path, _ = music
    project = SimpleNamespace(config=parse_config(""))
    common = {"source": "x", "source_digest": "", "film": "", "scene": "", "position": 1}
    clips = [Clip(clip_id="x", start_frame=50, end_frame=150, **common)]
    with DecoderChild() as decoder:
        info = decoder.probe(path)
        whole = OriginalSound(project, decoder, path, info).loudness(clips)
        speech = OriginalSound(project, decoder, path, info, library).loudness(clips)
    assert whole - speech == pytest.approx(6.02, abs=0.1)


def test_a_video_without_sound_has_no_background_and_that_is_said(library):
    info = SimpleNamespace(has_audio=False)
    track, summary = Waveform(np.ones(5, np.float32), RATE), DubSummary("o.mp4", "")
    sound = OriginalSound(None, None, None, info, library)
    assert sound.with_background(track, summary) is track
    assert "no sound" in summary.notes[0]
    assert sound.loudness([]) is None


def test_a_background_is_added_at_its_own_level_up_to_the_peak():
    track = Waveform(np.full(4, 0.5, np.float32), RATE)
    both, lowered = with_background(track, Waveform(np.full(6, 0.25, np.float32), RATE), PEAK)
    np.testing.assert_array_equal(both.samples, [0.75] * 4 + [0.25] * 2)
    assert lowered == 0.0
    both, lowered = with_background(track, Waveform(np.full(6, 0.75, np.float32), RATE), PEAK)
    assert np.abs(both.samples).max() == pytest.approx(PEAK)
    assert lowered == pytest.approx(20 * np.log10(1.25 / PEAK))
    assert both.samples[5] / both.samples[0] == pytest.approx(0.6)
