"""The synthetic voice does what its plan says: pitch, level, timing, colour, closed lips."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redub.core.types import EMOTIONS
from redub.footage.demo_film.cast import CAST
from redub.footage.demo_film.face import EXPRESSIONS, VISEMES, motion_of, mouth_track, shut_track
from redub.footage.demo_film.lexicon import phones_of
from redub.footage.demo_film.phonetics import BILABIALS, SOUNDS
from redub.footage.demo_film.picture import draw_character, mouth_shape
from redub.footage.demo_film.prosody import MANNERS, Prosody, coupled, noisy, pitch_curve
from redub.footage.demo_film.sentences import compose
from redub.footage.demo_film.stage import LIGHTS, PLACES, paint_place
from redub.footage.demo_film.timing import VIDEO_FRAME_SAMPLES, Segment, schedule
from redub.footage.demo_film.voice import Style, Voice, pulse_times, synthesise

RATE_HZ = 16_000
PLAIN = Voice(f0_hz=120, formant_scale=1.0, tilt_db=0.0, breath=0.0)
CLEAN = Style(breath=0.0)
NEUTRAL = MANNERS["neutral"]


def rng():
    return np.random.default_rng(5)


def held(symbol, *, f0_hz=120.0, milliseconds=600, voice=PLAIN, style=CLEAN):
    """One phone alone, at constant pitch."""
    samples = milliseconds * 16 // 80 * 80
    segments = [Segment(symbol, False, 0, 0, samples)]
    f0 = np.full(samples // 80, f0_hz, np.float32)
    return synthesise(segments, f0, voice, style, rng()).samples.astype(np.float64)


def spoken(sentence, prosody=NEUTRAL, voice=PLAIN, style=CLEAN):
    segments = schedule(phones_of(sentence), rate=2**prosody.rate, evenness=prosody.evenness)
    f0 = pitch_curve(segments, prosody, voice, rng())
    return segments, f0, synthesise(segments, f0, voice, style, rng()).samples


def pitch_by_autocorrelation(samples):
    """The plain oracle: the highest peak of the autocorrelation between 60 and 500 Hz."""
    middle = samples[len(samples) // 4 : -len(samples) // 4]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 8 * len(middle))) ** 2
    correlation = np.fft.irfft(spectrum)[: len(middle)]
    lags = np.arange(RATE_HZ // 500, RATE_HZ // 60)
    best = lags[correlation[lags].argmax()]
    left, mid, right = correlation[best - 1 : best + 2]
    return RATE_HZ / (best + 0.5 * (left - right) / (left - 2 * mid + right))


def band_share(samples, low_hz, high_hz):
    power = np.abs(np.fft.rfft(samples)) ** 2
    hertz = np.fft.rfftfreq(len(samples), 1 / RATE_HZ)
    return power[(hertz >= low_hz) & (hertz < high_hz)].sum() / power.sum()


# --- sound ------------------------------------------------------------------------------------


@pytest.mark.parametrize("symbol", ["AA", "IY", "UW", "M"])
@pytest.mark.parametrize("f0_hz", [90.0, 151.3, 247.0, 390.0])
def test_the_measured_pitch_is_the_planned_pitch(symbol, f0_hz):
    measured = pitch_by_autocorrelation(held(symbol, f0_hz=f0_hz))
    assert measured == pytest.approx(f0_hz, rel=0.02)


def test_pulses_come_once_per_period():
    times = pulse_times(np.full(200, 100.0, np.float32))  # one second at 100 Hz
    assert len(times) in (98, 99, 100)
    assert np.diff(times) == pytest.approx(160.0, abs=0.01)


@pytest.mark.parametrize("symbol", ["AA", "IY", "AO"])
@pytest.mark.parametrize("f0_hz", [100.0, 300.0])
def test_a_vowel_is_as_loud_as_its_table_says(symbol, f0_hz):
    # rms = reference -25 dB + the vowel's own level, whatever the pitch and formants.
    middle = held(symbol, f0_hz=f0_hz)[1600:-1600]
    level_db = 20 * np.log10(np.sqrt(np.mean(middle**2)))
    assert level_db == pytest.approx(-25.0 + SOUNDS[symbol].voice_db, abs=1.2)


def test_six_decibels_more_is_twice_the_wave():
    soft, loud = (
        held("AA", style=Style(breath=0.1)),
        held("AA", style=Style(breath=0.1, energy_db=6)),
    )
    np.testing.assert_allclose(loud, soft * 10 ** (6 / 20), rtol=1e-4, atol=1e-6)


def test_shouting_never_leaves_full_scale():
    loud = held("AA", style=Style(energy_db=40.0))
    assert np.abs(loud).max() <= 1.0
    assert np.isfinite(loud).all()


@pytest.mark.parametrize(
    ("symbol", "formants_hz"),
    [("IH", (390, 1990)), ("EH", (530, 1840)), ("AE", (660, 1720)), ("ER", (490, 1350))],
)
def test_formants_stand_where_peterson_and_barney_measured_them(symbol, formants_hz):
    # At 50 Hz the harmonics sample the envelope every 50 Hz; the source's slope moves a peak down.
    samples = held(symbol, f0_hz=50.0, milliseconds=1000)[3200:-3200]
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    hertz = np.fft.rfftfreq(len(samples), 1 / RATE_HZ)
    for formant_hz in formants_hz:
        near = (hertz > formant_hz - 200) & (hertz < formant_hz + 200)
        assert hertz[near][spectrum[near].argmax()] == pytest.approx(formant_hz, abs=60)


def test_hisses_lie_where_they_should():
    assert band_share(held("S"), 4000, 8000) > 0.85
    assert band_share(held("SH"), 2000, 5000) > 0.7
    assert band_share(held("S"), 0, 2000) < 0.05


def test_a_stop_is_silent_until_its_burst():
    segments, _, samples = spoken("the baker opened a letter")
    stop = next(s for s in segments if s.symbol == "T")
    inside = samples[stop.start + 160 : stop.end]
    closure, rest = inside[: len(inside) // 3], inside[len(inside) // 2 :]
    assert np.abs(closure).max() < 0.1 * np.abs(rest).max()


def test_breath_fills_the_top_of_the_spectrum():
    clear, breathy = held("AA"), held("AA", style=Style(breath=0.8))
    assert band_share(breathy, 4000, 8000) > 3 * band_share(clear, 4000, 8000)


def test_tilt_brightens():
    dull, bright = (
        held("AA", style=Style(tilt_db=-6, breath=0)),
        held("AA", style=Style(tilt_db=6, breath=0)),
    )
    assert band_share(bright, 2000, 8000) > 2 * band_share(dull, 2000, 8000)


def test_pitch_for_another_length_is_refused():
    with pytest.raises(ValueError, match="pitch values"):
        synthesise(
            [Segment("AA", False, 0, 0, 800)], np.full(3, 100, np.float32), PLAIN, CLEAN, rng()
        )


def test_the_same_stream_of_chance_gives_the_same_sound():
    one, two = spoken("the king died on the hill")[2], spoken("the king died on the hill")[2]
    np.testing.assert_array_equal(one, two)


# --- time -------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(EMOTIONS), st.integers(0, 10_000), st.floats(0.6, 1.6), st.floats(0, 1))
def test_phones_tile_a_whole_number_of_pictures(wording, seed, rate, evenness):
    phones = phones_of(compose(wording, np.random.default_rng(seed)))
    segments = schedule(phones, rate=rate, evenness=evenness)
    assert segments[0].start == 0
    assert all(a.end == b.start for a, b in itertools.pairwise(segments))
    assert sum(s.end - s.start for s in segments) == segments[-1].end
    assert segments[-1].end % VIDEO_FRAME_SAMPLES == 0
    assert all(s.start % 80 == 0 and s.end - s.start >= 480 for s in segments)  # 30 ms or more
    assert [s.symbol for s in segments[1:-1]] == [p.symbol for p in phones]
    assert segments[0].symbol == segments[-1].symbol == "sil"
    assert segments[-1].end - segments[-1].start >= 960  # 60 ms of rest


def test_faster_speech_is_shorter():
    phones = phones_of("the captain moved the table near the river")
    lengths = [schedule(phones, rate=rate)[-1].start for rate in (0.7, 1.0, 1.4)]
    assert lengths[0] > 1.3 * lengths[1] > 1.3 * 1.15 * lengths[2]


def test_an_accented_vowel_outlasts_its_unaccented_twin():
    # "again": AH G EH1 N; "wagon": W AE1 G AH N; the same AH, once before and once after.
    segments = schedule(phones_of("you wrecked my wagon again"))
    accented = [s.end - s.start for s in segments if s.accented]
    plain = [s.end - s.start for s in segments if s.symbol == "AH" and not s.accented]
    assert min(accented) > max(plain)


# --- melody -----------------------------------------------------------------------------------


def test_the_coupling_is_the_formula():
    # angry level 4, sad -3, happy 5, neutral 0: 4 + .3 (-3 - 0) + .2 (5 - 0) = 4.1
    assert coupled("angry", "sad", "happy", a=0.3, b=0.2).level_st == pytest.approx(4.1)
    assert coupled("fear", None, None, a=0.3, b=0.3) == MANNERS["fear"]
    assert coupled("fear", "neutral", "neutral", a=0.3, b=0.3) == pytest.approx(MANNERS["fear"])


def test_noise_can_be_switched_off():
    assert noisy(MANNERS["sad"], rng(), noise=0.0) == pytest.approx(MANNERS["sad"])
    assert noisy(MANNERS["sad"], rng()) != noisy(MANNERS["sad"], np.random.default_rng(6))


@pytest.mark.parametrize("level_st", [-3.0, 0.0, 6.0])
def test_the_mean_pitch_is_the_speakers_moved_by_the_level(level_st):
    prosody = NEUTRAL._replace(level_st=level_st)
    segments, f0_hz, _ = spoken("we opened the yellow window on the hill", prosody)
    owner = np.repeat(np.arange(len(segments)), [(s.end - s.start) // 80 for s in segments])
    voiced = np.array([SOUNDS[s.symbol].is_voiced for s in segments])[owner]
    mean_st = np.mean(12 * np.log2(f0_hz[voiced] / PLAIN.f0_hz))
    assert mean_st == pytest.approx(level_st, abs=0.05)


def test_a_rising_line_ends_higher():
    rising = spoken("you can open the table", NEUTRAL._replace(slope_st=8.0))[1]
    falling = spoken("you can open the table", NEUTRAL._replace(slope_st=-8.0))[1]
    assert rising[-20] > rising[20] * 1.2
    assert falling[-20] < falling[20] / 1.2


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([actor.voice for actor in CAST]))
def test_pitch_stays_between_60_and_400_hertz(seed, voice):
    highest = Prosody(11.0, 2.6, 12.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    segments = schedule(phones_of(compose("surprise", np.random.default_rng(seed))))
    f0_hz = pitch_curve(segments, highest, voice, np.random.default_rng(seed))
    assert f0_hz.min() >= 60
    assert f0_hz.max() <= 400


# --- face -------------------------------------------------------------------------------------

MIDDLE = (0.5, 0.5, 0.24)
STILL = np.array([0, 0, 0, 1], np.float32)


def drawn(actor, expression, symbol, *, shut=False, blink=0.0):
    """The picture and the landmarks of one viseme."""
    canvas = paint_place("room", LIGHTS["neutral"], 0.0, height=256, width=256)
    viseme = np.array(VISEMES[symbol][0], np.float32)
    marks = draw_character(
        canvas, actor.look, expression, viseme, shut=shut, blink=blink, sway=STILL, camera=MIDDLE
    )
    return canvas, marks


def mouth_box(canvas, marks):
    """Pixels around the lips."""
    x, y = marks.nose
    return canvas[round(y) + 8 : round(marks.chin[1]) - 4, round(x) - 20 : round(x) + 20]


def dark_inside(canvas, marks):
    """How many pixels show the inside of an open mouth (dark red) or the teeth (white)."""
    box = mouth_box(canvas, marks).astype(int)
    inside = np.abs(box - (70, 18, 26)).max(axis=2) < 14
    teeth = box.min(axis=2) > 235
    return int(inside.sum() + teeth.sum())


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(EMOTIONS), st.integers(0, 10_000), st.floats(0.7, 1.6))
def test_lips_shut_on_every_m_b_and_p(wording, seed, rate):
    segments = schedule(phones_of(compose(wording, np.random.default_rng(seed))), rate=rate)
    shut, mouth = shut_track(segments), mouth_track(segments, effort=1.25)
    assert len(shut) == len(mouth) == segments[-1].end // VIDEO_FRAME_SAMPLES
    assert (mouth[shut, 0] == 0).all()
    assert mouth.min() >= -1
    assert mouth.max() <= 1
    for segment in segments:
        if segment.symbol in BILABIALS:
            first = segment.start // VIDEO_FRAME_SAMPLES
            last = (segment.end - 1) // VIDEO_FRAME_SAMPLES
            assert shut[first : last + 1].any(), segment


def test_open_vowels_open_and_round_vowels_round():
    segments = schedule(phones_of("stop you"), rate=0.6)
    mouth = mouth_track(segments)

    def at(symbol):
        segment = next(s for s in segments if s.symbol == symbol)
        return mouth[(segment.start + segment.end) // 2 // VIDEO_FRAME_SAMPLES]

    assert at("AA")[0] > 0.6 > 0.35 > at("UW")[0]
    assert at("UW")[2] > 0.6 > 0.3 > at("AA")[2]


@pytest.mark.parametrize("actor", CAST, ids=lambda actor: actor.name)
@pytest.mark.parametrize("emotion", EMOTIONS)
def test_shut_lips_show_no_inside_and_open_ones_do(actor, emotion):
    shut = dark_inside(*drawn(actor, EXPRESSIONS[emotion], "M", shut=True))
    wide = dark_inside(*drawn(actor, EXPRESSIONS[emotion], "AA"))
    assert wide > 200
    assert shut == 0


def test_the_noted_lips_are_where_the_mouth_opens():
    shut = drawn(CAST[1], EXPRESSIONS["neutral"], "M", shut=True)[1]
    wide = drawn(CAST[1], EXPRESSIONS["neutral"], "AA")[1]
    assert shut.lip_bottom[1] == shut.lip_top[1]
    # AA opens 0.85: 2 · 0.24 · 0.85 head units of 0.24 · 256 pixels
    expected = 2 * 0.24 * 0.85 * 0.24 * 256
    assert wide.lip_bottom[1] - wide.lip_top[1] == pytest.approx(expected, abs=0.5)


def test_a_smile_lifts_the_corners_and_surprise_the_rest_of_the_mouth():
    rest = np.zeros(5, np.float32)
    assert mouth_shape(EXPRESSIONS["happy"], rest, shut=False).lift > 0
    assert mouth_shape(EXPRESSIONS["sad"], rest, shut=False).lift < 0
    assert mouth_shape(EXPRESSIONS["surprise"], rest, shut=False).opening > 0
    assert mouth_shape(EXPRESSIONS["surprise"], rest, shut=True).opening == 0


def test_blinks_close_the_eyes():
    def white(canvas, marks):
        x, y = marks.left_eye
        box = canvas[round(y) - 8 : round(y) + 8, round(x) - 14 : round(x) + 14]
        return int((box.min(axis=2) > 225).sum())

    neutral = EXPRESSIONS["neutral"]
    assert white(*drawn(CAST[3], neutral, "sil")) > 40
    assert white(*drawn(CAST[3], neutral, "sil", blink=1.0)) == 0


def test_a_shot_blinks_and_moves():
    segments = schedule(phones_of("the captain moved the table near the river"), rate=0.6)
    motion = motion_of(segments, rng(), before=5, after=5, effort=1.0, liveliness=1.0)
    assert len(motion.mouth) == len(motion.shut) == segments[-1].end // VIDEO_FRAME_SAMPLES + 10
    assert motion.blink.max() == 1
    assert (motion.blink == 0).mean() > 0.5
    assert not motion.shut[:5].any()
    assert (motion.mouth[:5] == 0).all()
    assert np.ptp(motion.sway, axis=0).min() > 0


def test_a_face_detector_finds_the_characters():
    detector = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_alt2.xml")
    symbols, found, total = ["sil", "AA", "IY", "UW"], 0, 0
    for one, actor in enumerate(CAST):
        for two, emotion in enumerate(EMOTIONS):
            canvas, marks = drawn(actor, EXPRESSIONS[emotion], symbols[(one + two) % 4])
            grey = cv2.cvtColor(canvas, cv2.COLOR_RGB2GRAY)
            total += 1
            for x, y, width, height in detector.detectMultiScale(grey, 1.1, 3, minSize=(60, 60)):
                if x < marks.nose[0] < x + width and y < marks.nose[1] < y + height:
                    found += 1
                    break
    assert found / total >= 0.95


def test_moods_light_the_place_differently():
    def colour(emotion, place):
        picture = paint_place(place, LIGHTS[emotion], 0.0, height=64, width=64)
        return picture.reshape(-1, 3).mean(axis=0)

    for emotion in EMOTIONS:
        for other in EMOTIONS:
            same = np.linalg.norm(colour(emotion, "room") - colour(emotion, "park"))
            if emotion != other:
                apart = np.linalg.norm(colour(emotion, "room") - colour(other, "room"))
                assert apart > same
    assert len(PLACES) == 4
