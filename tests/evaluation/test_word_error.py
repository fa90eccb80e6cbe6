import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redub.core.errors import ConfigError
from redub.core.types import Waveform
from redub.evaluation import word_error
from redub.evaluation.word_error import (
    SpeechRecogniser,
    corpus_wer,
    language_model_text,
    legacy_wer,
    normalise,
)
from redub.footage.demo_film.lexicon import phones_of
from redub.footage.demo_film.prosody import coupled, pitch_curve, style_of
from redub.footage.demo_film.timing import schedule
from redub.footage.demo_film.voice import Voice, synthesise

TRAINING = [
    "come and dance with the delightful lady",
    "how dare you touch my green clock",
    "something horrible is hiding at the station",
    "I miss the empty village",
    "they will cover the wooden pillow tomorrow",
]
VOCABULARY = ["strange", "bucket", "sleeps", "wonder", "why", "market"]


def say(sentence, seed=0):
    rng = np.random.default_rng(seed)
    voice = Voice(f0_hz=115.0, formant_scale=1.0, tilt_db=0.0, breath=0.05)
    segments = schedule(phones_of(sentence))
    manner = coupled("neutral", None, None, a=0.0, b=0.0)
    pitch = pitch_curve(segments, manner, voice, rng)
    return synthesise(segments, pitch, voice, style_of(manner), rng)


@pytest.fixture(scope="module")
def recogniser():
    return SpeechRecogniser(TRAINING, VOCABULARY)


@pytest.fixture(scope="module")
def spoken():
    return {text: say(text) for text in TRAINING}


def test_training_sentences_are_understood(recogniser, spoken):
    report = corpus_wer(list(spoken), [recogniser.transcribe(w) for w in spoken.values()])
    assert report.wer < 0.1
    assert report.reference_words == sum(len(s.split()) for s in TRAINING)


def test_an_unseen_sentence_of_the_vocabulary_is_possible(recogniser):
    # No training sentence holds a word of it but "the"; a model without a floor could not say it.
    recognised = recogniser.transcribe(say("the strange bucket sleeps"))
    assert {"strange", "bucket", "sleeps"} <= set(recognised.split())


def test_what_came_before_does_not_matter(recogniser, spoken):
    def transcript_of(one, waveform):
        return one.transcribe(waveform), one._decoder.hyp().score  # scores show what words hide

    noise = np.random.default_rng(0).uniform(-1, 1, 16_000).astype(np.float32)
    forwards = [transcript_of(recogniser, w) for w in spoken.values()]
    backwards = []
    for waveform in reversed(spoken.values()):
        recogniser.transcribe(Waveform(noise, 16_000))
        backwards.append(transcript_of(recogniser, waveform))
    alone = [transcript_of(SpeechRecogniser(TRAINING, VOCABULARY), w) for w in spoken.values()]
    assert forwards == backwards[::-1] == alone


def test_loudness_is_not_judged(recogniser, spoken):
    text, waveform = next(iter(spoken.items()))
    quiet = Waveform(waveform.samples * np.float32(0.01), 16_000)
    assert recogniser.transcribe(quiet) == recogniser.transcribe(waveform) == normalise(text)


def test_another_rate_is_understood_too(recogniser, spoken):
    text, waveform = next(iter(spoken.items()))
    doubled = np.interp(
        np.arange(0, len(waveform.samples), 0.5), range(len(waveform.samples)), waveform.samples
    )
    assert recogniser.transcribe(Waveform(doubled.astype(np.float32), 32_000)) == normalise(text)


@pytest.mark.parametrize("samples", [0, 1, 3, 160, 16_000])
def test_silence_of_any_length_is_no_words(recogniser, samples):
    assert recogniser.transcribe(Waveform(np.zeros(samples, np.float32), 16_000)) == ""


def test_every_word_has_a_probability_in_the_language_model():
    text = language_model_text(["a cat sat"], ["a", "cat", "sat", "unseen"])
    unigrams = text.split("\\1-grams:")[1].split("\\2-grams:")[0]
    assert {line.split()[1] for line in unigrams.split("\n") if line} == {
        "a",
        "cat",
        "sat",
        "unseen",
        "<s>",
        "</s>",
    }


def test_words_without_a_pronunciation_are_named():
    made = SpeechRecogniser(["hello world"], ["Zzxqv", "world"])
    assert made.unknown_words == ("zzxqv",)
    assert made.vocabulary == ("hello", "world")


def test_no_training_sentence_is_refused():
    with pytest.raises(ConfigError, match="0 training sentences"):
        SpeechRecogniser(["", "?!"], ["hello"])


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("Don’t — SHOUT!", "don't shout"),
        ("'Quoted' word, dogs' bowl; 'tis", "quoted word dogs' bowl 'tis"),
        ("Café_au lait", "cafe au lait"),
        (" ' ''  ", ""),
    ],
)
def test_spelling(text, spelled):
    assert normalise(text) == spelled


def test_counts_of_a_worked_example():
    # the cat sat / the bat: one substitution, one deletion; a / a b: one insertion.
    # 3 errors in 4 reference words; a mean over clips would say (2/3 + 1) / 2.
    report = corpus_wer(["The cat sat.", "a"], ["the bat", "a b"])
    assert (report.substitutions, report.deletions, report.insertions) == (1, 1, 1)
    assert report.wer == pytest.approx(3 / 4)


def test_an_empty_hypothesis_costs_every_word_and_an_empty_reference_every_insertion():
    report = corpus_wer(["one two three", "", "four"], ["", "so what", "four"])
    assert (report.deletions, report.insertions, report.reference_words) == (3, 2, 4)
    assert report.wer == pytest.approx(5 / 4)


def test_legacy_divides_by_recognised_words_and_drops_silent_clips():
    # 2 errors over 2 recognised words, 0 errors; the silent clip vanishes: mean 0.5, not 5 / 7.
    found = legacy_wer(["a b c d", "e", "f g"], ["a b", "e", ""])
    assert found.wer == pytest.approx((2 / 2 + 0) / 2)
    assert found.dropped == 1


sentences = st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=6).map(" ".join)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(sentences, sentences), min_size=1, max_size=5))
def test_the_rate_is_jiwers_over_the_whole_corpus(pairs):
    references, hypotheses = [a for a, _ in pairs], [b for _, b in pairs]
    report = corpus_wer(references, hypotheses, resamples=50)
    assert report.wer == pytest.approx(jiwer.wer(references, hypotheses))
    assert report.wer_low <= report.wer_high


def test_the_interval_is_that_of_a_proportion():
    # 400 one-word utterances, 20 % wrong: binomial standard error 0.02, so about 0.16 to 0.24.
    recognised = ["no"] * 80 + ["yes"] * 320
    report = corpus_wer(["yes"] * 400, recognised)
    assert report.wer_low == pytest.approx(0.161, abs=0.006)
    assert report.wer_high == pytest.approx(0.239, abs=0.006)


def test_a_perfect_transcript_has_no_width():
    report = corpus_wer(["a b", "c"], ["a b", "c"])
    assert (report.wer, report.wer_low, report.wer_high) == (0.0, 0.0, 0.0)


def test_unequal_lengths_and_wordless_references_are_refused():
    with pytest.raises(ConfigError, match="2 references and 1"):
        corpus_wer(["a", "b"], ["a"])
    with pytest.raises(ConfigError, match="no reference"):
        corpus_wer(["..."], ["a"])
    with pytest.raises(ConfigError, match="empty"):
        legacy_wer(["a"], [""])


def test_dither_never_wraps_a_full_scale_sample():
    full = Waveform(np.array([1.0, -1.0] * 50, np.float32), 16_000)
    pcm = np.frombuffer(word_error._pcm(full), "<i2")
    assert (np.sign(pcm) == np.tile([1, -1], 50)).all()
