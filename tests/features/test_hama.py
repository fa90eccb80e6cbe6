"""hama: its labels, its windows, alignment on made scores, and its real network on made sound."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redub.core.errors import ConfigError, FeatureAbsent
from redub.core.phonemes import PAUSES, SIL, SYMBOLS, id_of, symbol_of
from redub.core.types import AudioSpec
from redub.features.models.hama import extractor as module
from redub.features.models.hama import recognition
from redub.features.models.hama.extractor import HamaConfig, HamaDurations, phone_spans
from redub.features.models.hama.library import LABELS, MOST_FRAMES, STEP
from redub.features.models.hama.phones import (
    IPA,
    NO_PHONE,
    PHONES,
    heard_phones,
    phone_scores,
)
from redub.features.models.hama.recognition import CONTEXT, recognise, windows
from redub.features.models.hama.timing import quiet_steps, timed_phones
from redub.features.models.native.child import close_children
from redub.features.text import pronunciation
from tests.features.paper.ledgers import CPU
from tests.features.voices import AUDIO, VOWELS_HZ, hiss, media_of, silence, vowel
from tests.packaged import packaged

BLANK = LABELS - 1
CINEMA = AudioSpec(sample_rate_hz=22_050, n_fft=1024, hop_samples=256, win_samples=1024)


@pytest.fixture(scope="module")
def weights():
    yield packaged("hama")
    close_children()


def extractor(weights=None, audio=AUDIO, **config):
    return HamaDurations(HamaConfig(audio=audio, **config), {"model": weights}, CPU)


def ids(phones):
    return np.array([id_of(phone) for phone in phones.split()], np.int32)


def line(samples, phones, rate=AUDIO.sample_rate_hz):
    return media_of(samples, rate=rate, features={"phonemes": ids(phones)[:, None]})


def named(rows):
    return [(symbol_of(int(phone)), int(frames)) for phone, frames in rows]


def made_scores(heard, probability=0.9):
    """(F, 40) where each word of ``heard`` is the most probable of one frame; "-" is no phone."""
    heard = heard.split()
    rest = (1 - probability) / len(PHONES)
    scores = np.full((len(heard), len(PHONES) + 1), np.log(rest))
    for frame, name in enumerate(heard):
        scores[frame, NO_PHONE if name == "-" else PHONES.index(name)] = np.log(probability)
    return scores


def columns(phones):
    return [PHONES.index(phone) for phone in phones.split()]


# -- labels


def test_every_phoneme_of_the_project_has_labels_and_no_label_has_two_phones():
    assert set(PHONES) == pronunciation.PHONES
    spoken = [symbol for symbol in SYMBOLS if symbol not in PAUSES]
    assert len(module._columns([id_of(symbol) for symbol in spoken])) == len(spoken)
    places = [place for labels in IPA.values() for place in labels.values()]
    names = [name for labels in IPA.values() for name in labels]
    assert len(set(places)) == len(places)
    assert len(set(names)) == len(names)
    assert all(labels for labels in IPA.values())
    assert max(places) < BLANK - 1  # the word border and the blank are no phone
    assert not set(places) & set(range(7))  # nor are <pad> … "," the first entries of the list


def test_the_stress_of_a_vowel_does_not_matter_and_a_pause_is_refused():
    assert module._columns(ids("AH AH0 AH1 AH2")) == [PHONES.index("AH")] * 4
    with pytest.raises(FeatureAbsent, match="a pause is no phoneme"):
        module._columns([SIL])


def test_the_probabilities_of_a_phones_labels_are_added_and_nothing_is_lost():
    labels = np.full((1, LABELS), 1e-9)
    labels[0, IPA["AH"]["ʌ"]], labels[0, IPA["AH"]["ə"]] = 0.25, 0.35
    labels[0, BLANK], labels[0, BLANK - 1], labels[0, IPA["K"]["k"]] = 0.2, 0.1, 0.1
    found = np.exp(phone_scores(np.log(labels).astype(np.float32)))[0]
    assert found[PHONES.index("AH")] == pytest.approx(0.6, abs=1e-6)
    assert found[PHONES.index("K")] == pytest.approx(0.1, abs=1e-6)
    assert found[NO_PHONE] == pytest.approx(0.3, abs=1e-6)
    assert found.sum() == pytest.approx(1.0, abs=1e-6)


@given(st.lists(st.sampled_from(["-", "K", "IH", "D"]), min_size=1, max_size=12))
def test_what_is_heard_is_ctcs_reading(frames):
    merged = [name for name, _ in itertools.groupby(frames)]
    assert list(heard_phones(made_scores(" ".join(frames)))) == [
        name for name in merged if name != "-"
    ]


# -- windows of 30 s


@given(st.integers(0, 6_000_000) | st.sampled_from([479_999, 480_000, 480_001, 896_000]))
def test_windows_keep_every_frame_once_and_hear_a_second_around_it(samples):
    frames = samples // STEP + 1
    kept = []
    for window in windows(samples):
        seen = min((window.samples.stop - window.samples.start) // STEP + 1, MOST_FRAMES)
        first = window.samples.start // STEP
        assert window.samples.start % STEP == 0
        assert 0 <= window.kept.start < window.kept.stop <= seen
        assert window.kept.start >= CONTEXT or first == 0
        assert seen - window.kept.stop >= CONTEXT - 1 or window.samples.stop == samples
        kept += range(first + window.kept.start, first + window.kept.stop)
    assert kept == list(range(frames))


def test_the_frames_of_a_long_sound_are_those_of_its_samples(monkeypatch):
    """The made network answers with the sample at each frame's centre, as its first label."""

    class Child:
        def run(self, array, *, wall_s):
            frames = min(len(array) // STEP + 1, MOST_FRAMES)
            answer = np.full((frames, LABELS), -50, np.float32)
            answer[:, IPA["AA"]["a"]] = np.append(array, 0)[: frames * STEP : STEP]
            return answer

    monkeypatch.setattr(recognition, "shared_child", lambda name, folder: Child())
    clock = np.arange(95 * 16_000 + 77) / (200 * 16_000)
    sound = clock.astype(np.float32)
    found = recognise(sound, None)[:, PHONES.index("AA")]
    np.testing.assert_allclose(found, sound[::STEP] * (0.5 / sound.max()), atol=1e-6)


# -- spans, and texts that do not fit


def test_a_planted_path_is_found():
    heard = "- - K K - IH - - D - Z Z Z - -"
    spans = phone_spans(made_scores(heard), columns("K IH D Z"), max_misfit=2.5)
    assert spans.tolist() == [[2, 4], [5, 6], [8, 9], [10, 13]]


def test_repeated_phones_keep_a_frame_between_them():
    spans = phone_spans(made_scores("N N - N"), columns("N N"), max_misfit=2.5)
    assert spans.tolist() == [[0, 2], [3, 4]]


def test_the_misfit_is_the_lost_log_probability_per_phone():
    # The text says G where K is heard, and G is less probable by 6 nats: 6 / 3 phones = 2.
    scores = made_scores("- K - IH - D -")
    scores[1, PHONES.index("G")] = scores[1, PHONES.index("K")] - 6
    scores[[0, 2], PHONES.index("G")] = -50  # no other frame is a way out
    scores[1, NO_PHONE] = -50
    assert phone_spans(scores, columns("G IH D"), max_misfit=2.01).tolist()[0] == [1, 2]
    with pytest.raises(FeatureAbsent, match=r"misfit 2\.0 .* heard: K IH D;") as refused:
        phone_spans(scores, columns("G IH D"), max_misfit=1.99)
    assert refused.value.code == "E-ALIGN-FAILED"


def test_another_text_is_refused_and_silence_too():
    scores = made_scores("- K - IH - D - Z - T - AO - K -", probability=0.99)
    phone_spans(scores, columns("K IH D Z T AO K"), max_misfit=2.5)
    with pytest.raises(FeatureAbsent, match="heard: K IH D Z T AO K"):
        phone_spans(scores, columns("M AY M AH DH ER"), max_misfit=2.5)
    with pytest.raises(FeatureAbsent, match="heard: no phoneme"):
        phone_spans(made_scores("- " * 20, 0.99), columns("M AY"), max_misfit=2.5)


# -- times


def loud_between(*times_s, duration_s):
    """Noise between pairs of times, and 60 dB below it elsewhere."""
    samples = np.random.default_rng(0).standard_normal(round(duration_s * 16_000)) * 1e-4
    for begin_s, end_s in zip(times_s[::2], times_s[1::2], strict=True):
        samples[round(begin_s * 16_000) : round(end_s * 16_000)] *= 1e3
    return samples.astype(np.float32)


def times_of(spans, sound, pause_s=0.2):
    phones = timed_phones(np.array(spans), range(1, len(spans) + 1), sound, pause_s=pause_s)
    return [(round(phone.start_s, 3), round(phone.end_s, 3)) for phone in phones]


def test_quiet_is_where_nothing_is_said():
    sound = loud_between(0.3, 0.9, duration_s=1.5)
    quiet = quiet_steps(sound, 5_000, 14_000)
    assert len(quiet) == 150
    # the window of 25 ms around a step hears what is near it
    assert quiet[:28].all()
    assert not quiet[31:89].any()
    assert quiet[92:].all()


def test_borders_lie_midway_and_25_ms_earlier():
    # Frames 20, 30 and 34 are at 400, 600 and 680 ms: midpoints at 500 and 640 ms.
    found = times_of([(20, 21), (30, 31), (34, 35)], loud_between(0.3, 0.9, duration_s=1.5))
    assert [end for _, end in found[:-1]] == [0.475, 0.615]
    assert [start for start, _ in found[1:]] == [0.475, 0.615]


def test_the_utterance_ends_where_the_sound_ends_but_not_far_away():
    sound = loud_between(0.3, 0.9, duration_s=1.5)
    found = times_of([(20, 21), (40, 41)], sound)  # 400 and 800 ms
    assert found[0][0] == pytest.approx(0.3, abs=0.025)
    assert found[-1][1] == pytest.approx(0.9, abs=0.025)
    far = times_of([(40, 41), (42, 43)], loud_between(0.0, 2.0, duration_s=2.0))
    assert far[0][0] == pytest.approx(0.8 - 0.025 - 0.25, abs=0.01)
    assert far[-1][1] == pytest.approx(0.84 + 0.01 + 0.25, abs=0.01)


def test_a_quiet_stretch_is_a_pause_and_a_loud_gap_is_not():
    spans = [(20, 21), (50, 51)]  # 400 and 1000 ms
    [first, second] = times_of(spans, loud_between(0.3, 0.6, 0.9, 1.1, duration_s=1.5))
    assert first[1] == pytest.approx(0.6, abs=0.025)
    assert second[0] == pytest.approx(0.9, abs=0.025)
    [first, second] = times_of(spans, loud_between(0.3, 0.6, 0.9, 1.1, duration_s=1.5), 0.4)
    assert first[1] == second[0] == 0.675
    [first, second] = times_of(spans, loud_between(0.3, 1.1, duration_s=1.5))
    assert first[1] == second[0] == 0.675


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 30)), min_size=1, max_size=8),
)
def test_phones_are_in_order_whatever_the_sound(seed, gaps):
    """No phone begins before the end of the one before it, or outside the sound."""
    rng = np.random.default_rng(seed)
    place, spans = 0, []
    for width, gap in gaps:
        spans.append((place + gap, place + gap + width))
        place += gap + width
    loudness = 10 ** rng.uniform(-4, 0, place + 1)
    sound = rng.standard_normal(place * STEP + 1) * loudness.repeat(STEP)[: place * STEP + 1]
    flat = [time for pair in times_of(spans, sound.astype(np.float32)) for time in pair]
    assert flat[0] >= 0
    assert flat == sorted(flat)
    assert flat[-1] <= len(sound) / 16_000 + 1e-3


# -- the extractor


@pytest.fixture
def hearing(monkeypatch):
    """Let the extractor hear given frames, which begin with the sound."""

    def hear(frames):
        scores = made_scores(frames)
        monkeypatch.setattr(module, "recognise", lambda speech, weights: scores)

    return hear


@pytest.mark.parametrize("audio", [AUDIO, CINEMA])
def test_rows_sum_to_the_clip_and_are_the_phonemes_in_order(hearing, audio):
    hearing("- " * 20 + "K - - IH - - D - Z" + " -" * 22)
    rate = audio.sample_rate_hz
    sound = np.interp(
        np.arange(rate) / rate, np.arange(16_000) / 16_000, loud_between(0.38, 0.6, duration_s=1.0)
    )
    rows = extractor(audio=audio).extract(line(sound, "K IH1 D Z", rate))
    assert rows.dtype == np.int32
    assert rows[:, 1].sum() == audio.frame_count(rate)
    assert [name for name, _ in named(rows)] == ["sil", "K", "IH1", "D", "Z", "sil"]
    hop_s = audio.hop_samples / rate
    # K at 400, IH at 460, D at 520, Z at 560 ms: borders at 430 − 25, 490 − 25 and 540 − 25 ms
    wanted_s = [0.38, 0.405, 0.465, 0.515, 0.6]
    np.testing.assert_allclose(rows[:-1, 1].cumsum() * hop_s, wanted_s, atol=0.03)


def test_too_many_phonemes_for_the_sound_are_refused_before_the_network_runs():
    with pytest.raises(FeatureAbsent, match="13 labels") as refused:
        extractor().prepare(
            line(0.1 * np.ones(3_200, np.float32), " ".join(["K", "T"] * 6 + ["K"]))
        )
    assert refused.value.code == "E-ALIGN-FAILED"


@pytest.mark.parametrize("wrong", [{"pause_s": 0.01}, {"max_misfit": 0.0}, {"pause_s": 11.0}])
def test_settings_outside_their_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        HamaConfig(audio=AUDIO, **wrong)


# -- the real network, where it was fetched

SEE_S = (0.4, 0.58, 0.88)  # where [s] begins, [i] begins, and [i] ends


def see(lead_s=0.4):
    """*See*, from a fricative's noise and a vowel's resonances, with faint noise around it."""
    said = [silence(lead_s), hiss(0.18, 4500.0), vowel(0.3, 125, VOWELS_HZ["IY"]), silence(0.4)]
    sound = np.concatenate(said)
    return (sound + 1e-4 * np.random.default_rng(0).standard_normal(len(sound))).astype(np.float32)


def test_the_library_hears_phones_and_its_answer_is_a_distribution(weights):
    scores = recognise(see(), weights)
    assert scores.shape == (len(see()) // STEP + 1, len(PHONES) + 1)
    np.testing.assert_allclose(np.exp(scores).sum(axis=1), 1.0, atol=1e-4)
    assert heard_phones(scores) == ("S", "IY")
    assert scores.tobytes() == recognise(see(), weights).tobytes()
    assert heard_phones(recognise(np.zeros(16_000, np.float32), weights)) == ()


def test_the_loudness_does_not_matter(weights):
    quiet = recognise(see() / 16, weights)  # a power of two: no sample is rounded
    np.testing.assert_allclose(np.exp(quiet), np.exp(recognise(see(), weights)), atol=1e-4)


def test_borders_lie_where_the_sound_changes(weights):
    rows = extractor(weights).extract(line(see(), "S IY"))
    assert [name for name, _ in named(rows)] == ["sil", "S", "IY", "sil"]
    np.testing.assert_allclose(rows[:-1, 1].cumsum() / 100, SEE_S, atol=0.08)


def test_a_delay_of_ten_frames_delays_the_rows(weights):
    first = extractor(weights).extract(line(see(), "S IY"))
    later = extractor(weights).extract(line(see(lead_s=0.5), "S IY"))
    assert later[0].tolist() == [SIL, first[0, 1] + 10]
    assert later[:, 0].tolist() == first[:, 0].tolist()
    np.testing.assert_allclose(later[1:, 1], first[1:, 1], atol=2)  # one frame of the network


def test_the_words_must_be_those_that_are_heard(weights):
    with pytest.raises(FeatureAbsent, match=r"heard: S IY; check that the text") as refused:
        extractor(weights).extract(line(see(), "G OW HH OW M"))
    assert refused.value.code == "E-ALIGN-FAILED"


def test_what_is_said_after_30_s_is_heard(weights):
    """The library itself ignores it."""
    scores = recognise(np.tile(see(), 30), weights)  # 38 s
    assert len(scores) == 30 * len(see()) // STEP + 1
    heard = heard_phones(scores[32 * 50 :])  # from 32 s on: the beginning of the 26th word
    assert heard == ("S", "IY") * 5
