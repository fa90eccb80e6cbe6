import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from redub.core.errors import ConfigError
from redub.evaluation.emotion_recogniser import CANDIDATES, EmotionRecogniser, emotion_report

LABELS = ("angry", "happy", "sad")
MANNER = {"angry": (3.0, 2.0, 0.0), "happy": (3.0, -2.0, 0.0), "sad": (-3.0, 0.0, 0.0)}
VOICES = {"low": (100.0, 5.0), "high": (220.0, 12.0)}  # mean and spread of a speaker's own scale


def recordings(seed, speakers=("low", "high"), per_cell=12, noise=0.6):
    rng = np.random.default_rng(seed)
    rows = [(s, e, n) for s in speakers for e in LABELS for n in range(per_cell)]
    features = [
        VOICES[s][0] + VOICES[s][1] * (np.array(MANNER[e]) + noise * rng.standard_normal(3))
        for s, e, _ in rows
    ]
    scenes = [f"scene-{n % 6}" for *_, n in rows]
    return np.array(features), [e for _, e, _ in rows], [s for s, *_ in rows], scenes


@pytest.fixture(scope="module")
def fitted():
    return EmotionRecogniser.fit(*recordings(0), seed=0)


def test_planted_manners_are_recognised_in_new_recordings(fitted):
    features, labels, speakers, _ = recordings(1)
    report = fitted.evaluate(features, labels, speakers)
    assert report.accuracy > 0.95
    assert report.majority_accuracy == pytest.approx(1 / 3)


def test_a_voice_on_another_scale_is_compared_with_itself():
    # The same lines by one speaker, moved and stretched: nothing may change.
    features, labels, speakers, scenes = recordings(0)
    low = np.array(speakers) == "low"
    moved = features.copy()
    moved[low] = 7.0 * moved[low] - 300.0
    plain = EmotionRecogniser.fit(features, labels, speakers, scenes, seed=0)
    other = EmotionRecogniser.fit(moved, labels, speakers, scenes, seed=0)
    probe, _, probe_speakers, _ = recordings(2)
    probe_low = np.array(probe_speakers) == "low"
    probe_moved = probe.copy()
    probe_moved[probe_low] = 7.0 * probe_moved[probe_low] - 300.0
    assert plain.chosen == other.chosen
    assert plain.predict(probe, probe_speakers) == other.predict(probe_moved, probe_speakers)


def test_without_the_speaker_the_same_features_would_be_misclassified(fitted):
    features, labels, speakers, _ = recordings(1)
    swapped = ["high" if s == "low" else "low" for s in speakers]
    assert fitted.evaluate(features, labels, swapped).accuracy < 0.7


def test_an_unknown_voice_gets_everyones_statistics():
    # One training speaker, so everyone is that speaker, and a stranger is treated as him.
    features, labels, speakers, scenes = recordings(0, speakers=("low",))
    made = EmotionRecogniser.fit(features, labels, speakers, scenes, seed=0)
    probe, _, names, _ = recordings(3, speakers=("low",))
    assert made.predict(probe, ["stranger"] * len(probe)) == made.predict(probe, names)


def test_a_row_is_classified_alike_alone_and_in_a_batch(fitted):
    features, _, speakers, _ = recordings(4, per_cell=3)
    together = fitted.predict(features, speakers)
    alone = tuple(fitted.predict(features[i : i + 1], speakers[i : i + 1])[0] for i in range(18))
    assert together == alone
    assert fitted.predict(features[:0], []) == ()


def test_the_same_training_set_gives_the_same_recogniser():
    features, labels, speakers, scenes = recordings(5, noise=3.0)
    first = EmotionRecogniser.fit(features, labels, speakers, scenes, seed=3)
    second = EmotionRecogniser.fit(features, labels, speakers, scenes, seed=3)
    probe, _, names, _ = recordings(6, noise=3.0)
    assert first.chosen == second.chosen
    assert first.predict(probe, names) == second.predict(probe, names)


def test_cross_validation_picks_a_kernel_where_a_line_cannot_do_it():
    # Exclusive or: no linear boundary is better than chance.
    rng = np.random.default_rng(0)
    features = rng.uniform(-1, 1, (240, 2))
    labels = ["happy" if a * b > 0 else "sad" for a, b in features]
    scenes = [f"s{i % 5}" for i in range(240)]
    made = EmotionRecogniser.fit(features, labels, ["x"] * 240, scenes, seed=0)
    assert made.chosen.kind == "rbf-svm"
    assert made.validation_accuracy is not None
    assert made.validation_accuracy > 0.85


def test_a_scene_is_never_on_both_sides_of_a_split():
    # Every scene has its own feature column that gives its label away; labels are coin flips per
    # scene. Splitting scenes would look perfect; keeping them whole is chance or below.
    rng = np.random.default_rng(1)
    scenes = [f"s{i // 10}" for i in range(200)]
    flips = {s: LABELS[int(rng.integers(2))] for s in dict.fromkeys(scenes)}
    features = np.eye(20)[[i // 10 for i in range(200)]]
    made = EmotionRecogniser.fit(features, [flips[s] for s in scenes], ["x"] * 200, scenes, seed=0)
    assert made.validation_accuracy is not None
    assert made.validation_accuracy < 0.75


def test_one_scene_is_too_few_to_choose_but_enough_to_fit():
    features, labels, speakers, _ = recordings(0)
    made = EmotionRecogniser.fit(features, labels, speakers, ["only"] * len(labels), seed=0)
    assert made.validation_accuracy is None
    assert made.chosen in CANDIDATES
    assert made.evaluate(features, labels, speakers).accuracy > 0.9


def test_a_constant_feature_changes_nothing():
    features, labels, speakers, scenes = recordings(0)
    probe, _, names, _ = recordings(1)
    plain = EmotionRecogniser.fit(features, labels, speakers, scenes, seed=0)
    padded = EmotionRecogniser.fit(
        np.pad(features, ((0, 0), (0, 1)), constant_values=0.1), labels, speakers, scenes, seed=0
    )
    assert plain.predict(probe, names) == padded.predict(
        np.pad(probe, ((0, 0), (0, 1)), constant_values=0.1), names
    )


def test_report_of_a_worked_example():
    # 4 of 6 right; always "sad" would get 3 of 6.
    # F1: sad 2*2/(2*2+1+1) = 2/3, angry 2*1/(2*1+1+1) = 1/2, happy 2*1/(2*1+0+0) = 1: mean 13/18.
    report = emotion_report(
        ["sad", "sad", "sad", "angry", "angry", "happy"],
        ["sad", "sad", "angry", "angry", "sad", "happy"],
    )
    assert report.accuracy == pytest.approx(4 / 6)
    assert report.majority_accuracy == pytest.approx(3 / 6)
    assert report.macro_f1 == pytest.approx(13 / 18)
    assert report.classes == ("angry", "happy", "sad")
    assert report.confusion == ((1, 0, 1), (0, 1, 0), (1, 0, 2))


def test_a_label_that_is_only_predicted_lowers_accuracy_but_is_no_class_of_macro_f1():
    report = emotion_report(["sad", "sad"], ["sad", "neutral"])
    assert report.macro_f1 == pytest.approx(2 / 3)
    assert report.classes == ("neutral", "sad")


@given(st.integers(2, 400).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))))
def test_the_interval_of_the_accuracy_is_wilsons(pair):
    hits, count = pair
    report = emotion_report(["sad"] * count, ["sad"] * hits + ["neutral"] * (count - hits))
    expected = binomtest(hits, count).proportion_ci(0.95, method="wilson")
    found = report.accuracy_low, report.accuracy_high
    assert found == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_unusable_input_is_refused():
    features, labels, speakers, scenes = recordings(0)
    with pytest.raises(ConfigError, match="fewer than two emotions"):
        EmotionRecogniser.fit(features, ["sad"] * len(labels), speakers, scenes, seed=0)
    with pytest.raises(ConfigError, match="equal numbers"):
        EmotionRecogniser.fit(features, labels[1:], speakers, scenes, seed=0)
    with pytest.raises(ConfigError, match="speakers"):
        EmotionRecogniser.fit(features, labels, speakers[1:], scenes, seed=0)
    broken = features.copy()
    broken[3, 1] = np.nan
    with pytest.raises(ConfigError, match="finite"):
        EmotionRecogniser.fit(broken, labels, speakers, scenes, seed=0)
    with pytest.raises(ConfigError, match="at least one"):
        emotion_report([], [])
