"""Phoneme error rate: hand-worked numbers, pooled rates, and hama's real network."""

from dataclasses import replace

import numpy as np
import pytest

from redub.core.errors import ClipError, ConfigError
from redub.core.metric import Absent
from redub.core.phonemes import id_of
from redub.core.types import Waveform
from redub.evaluation import phoneme_error as module
from redub.evaluation.inputs import MetricInputError
from redub.evaluation.phoneme_error import (
    FOLDED,
    corpus_per,
    heard_in,
    per_difference,
    per_of,
    per_of_takes,
)
from redub.features.models.native.child import close_children
from redub.features.text.pronunciation import PHONES
from tests.evaluation.made_takes import take, take_of_sound
from tests.features.test_hama import see
from tests.features.voices import RATE
from tests.packaged import packaged

GONE = Absent("E-MADE-UP", "made up")


@pytest.fixture(scope="module")
def weights():
    yield packaged("hama")
    close_children()


def spoken(waveform, phones, weights=None):
    """A take with the phonemes of its text."""
    made = take_of_sound(waveform)
    phonemes = None if phones is None else np.array([id_of(phone) for phone in phones.split()])
    return replace(made, phonemes=phonemes, weights={} if weights is None else {"hama": weights})


# -- the definition


def test_a_hand_worked_rate():
    # kids → "kit": D became T, Z is lost: 2 errors in 4 phonemes. An N more: 1 error in 4.
    assert corpus_per(["K IH D Z"], ["K IH T"]).per == 0.5
    longer = corpus_per(["K IH D Z"], ["K IH N D Z"])
    assert (longer.per, longer.insertions) == (0.25, 1)
    assert corpus_per(["K IH D Z"], [""]).per == 1.0
    assert corpus_per(["K IH"], ["M AY D AO G Z"]).per == 3.0  # a rate may exceed 1


def test_the_common_set_has_37_phones_without_stress_and_pauses():
    assert corpus_per(["sil D AO1 R sp M EH2 ZH ER0 sil"], ["D AA R M EH SH ER"]).per == 0
    folded = {FOLDED.get(phone, phone) for phone in PHONES}
    assert len(folded) == 37
    # every other pair of phones differs
    lines = sorted(folded)
    assert corpus_per([" ".join(lines)], [" ".join(lines[1:] + lines[:1])]).per == 2 / 37


def test_the_errors_of_a_corpus_are_pooled():
    # 1 error in 1 phoneme and 0 in 3: 1/4, and not the mean of the rates, 1/2.
    found = corpus_per(["AY", "M AY D"], ["OW", "M AY D"])
    assert found.per == 0.25
    assert (found.reference_phonemes, found.utterances) == (4, 2)
    assert found.per_low == 0 < found.per_high


def test_what_is_no_phoneme_is_refused():
    with pytest.raises(MetricInputError, match="'ʃ' is no phoneme"):
        corpus_per(["K IH"], ["ʃ IH"])
    with pytest.raises(ConfigError, match="1 references and 2 hypotheses"):
        corpus_per(["K"], ["K", "K"])
    with pytest.raises(ConfigError, match="no reference"):
        corpus_per(["sil"], ["K"])


# -- takes and systems


def rated(*pairs):
    """Takes with a rate (or the reason why there is none) and a number of phonemes each."""
    return [
        take(place, "run", values={"per": value}, phoneme_count=count)
        for place, (value, count) in enumerate(pairs)
    ]


def test_the_rate_of_a_system_counts_every_phoneme_equally():
    found = per_of_takes("per", rated((0.5, 4), (0.0, 16), (GONE, 100)), 200)
    assert found.value == pytest.approx(2 / 20)
    assert found.low == 0.0
    assert found.high == pytest.approx(0.5)


def test_a_system_without_rates_says_why():
    assert per_of_takes("per", rated((GONE, 4), (GONE, 0)), 200) == GONE


def test_systems_are_compared_on_the_lines_that_both_have():
    first = rated((0.5, 4), (0.25, 16), (1.0, 10))
    second = rated((0.25, 4), (0.0, 16), (GONE, 10))
    found = per_difference("per", first, second, 200)
    assert found.value == pytest.approx((2 + 4) / 20 - 1 / 20)
    # both lines are 0.25 worse, whichever lines are drawn
    assert found.low == pytest.approx(0.25)
    assert found.high == pytest.approx(0.25)
    assert per_difference("per", first, rated(*[(GONE, 4)] * 3), 200) == GONE


def test_without_weights_or_phonemes_the_reason_says_what_to_do():
    silent = Waveform(np.zeros(RATE, np.float32), RATE)
    missing = per_of(spoken(silent, "S IY"))
    assert missing.code == "E-EVAL-WEIGHTS"
    assert missing.message == "models.lock has no hama; type `redub weights get hama`"
    assert per_of(spoken(silent, None, weights="some")).code == "E-EVAL-TEXT"


def test_a_sound_that_breaks_the_library_costs_one_take(monkeypatch):
    def broken(sound, weights):
        raise ClipError("hama: the library ended by SIGSEGV", code="E-MODEL-CRASH")

    monkeypatch.setattr(module, "heard_in", broken)
    found = per_of(spoken(Waveform(see(), RATE), "S IY", weights="some"))
    assert found == Absent("E-MODEL-CRASH", "hama: the library ended by SIGSEGV")


# -- the real network, where it was fetched


def test_what_is_said_has_no_errors_and_another_text_has_many(weights):
    sound = Waveform(see(), RATE)
    assert heard_in(sound, weights) == "S IY"
    assert per_of(spoken(sound, "sil S IY1 sil", weights)) == 0.0
    assert per_of(spoken(sound, "SH IY", weights)) == 0.5
    assert per_of(spoken(sound, "G OW HH OW M", weights)) == 1.0


def test_a_silent_take_and_an_empty_one_have_no_phoneme_right(weights):
    for samples in (RATE, 0):
        silent = Waveform(np.zeros(samples, np.float32), RATE)
        assert per_of(spoken(silent, "S IY", weights)) == 1.0


def test_the_sample_rate_of_a_take_does_not_matter(weights):
    twice = np.interp(np.arange(2 * len(see())) / 2, np.arange(len(see())), see())
    assert heard_in(Waveform(twice.astype(np.float32), 2 * RATE), weights) == "S IY"
