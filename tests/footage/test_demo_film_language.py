"""The script of the demo film: known words, no sentence in two splits, a balanced plan."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pocketsphinx
import pytest

from redub.core.errors import ConfigError
from redub.core.types import EMOTIONS
from redub.footage.demo_film.cast import CAST
from redub.footage.demo_film.lexicon import lexicon, phones_of
from redub.footage.demo_film.phonetics import SOUNDS, VOWELS
from redub.footage.demo_film.plan import SHARES_OF, FilmSpec, plan_film, split_sizes
from redub.footage.demo_film.sentences import (
    TEMPLATES,
    compose,
    compose_from,
    language_size,
    share_of,
    vocabulary,
    written,
)

SPEC = FilmSpec()
FILM = plan_film(SPEC)
LONG_FILM = plan_film(FilmSpec(scenes=150))


def lines_of(film, split=None):
    return [line for scene in film if split in (None, scene.split) for line in scene.lines]


def first_dictionary_entries():
    path = Path(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict"))
    entries = {}
    for row in path.read_text(encoding="utf-8").splitlines():
        word, *phones = row.split()
        entries.setdefault(word, phones)
    return entries


def test_every_word_is_spoken_as_the_aligners_dictionary_has_it():
    dictionary = first_dictionary_entries()
    for word, phones in lexicon().items():
        assert [phone.rstrip("1") for phone in phones] == dictionary[word], word


def test_the_lexicon_holds_exactly_the_words_of_the_grammar():
    assert set(lexicon()) == vocabulary()
    assert len(lexicon()) > 250


def test_at_most_one_vowel_of_a_word_is_accented():
    for word, phones in lexicon().items():
        marked = [phone for phone in phones if phone.endswith("1")]
        assert len(marked) <= 1, word
        assert all(phone[:-1] in VOWELS for phone in marked), word


def test_every_phone_has_a_sound():
    assert {p.rstrip("1") for phones in lexicon().values() for p in phones} <= set(SOUNDS)


def test_phones_of_a_sentence_by_hand():
    phones = phones_of("The king died.")
    assert [p.symbol for p in phones] == ["DH", "AH", "K", "IH", "NG", "D", "AY", "D"]
    assert [p.word for p in phones] == [0, 0, 1, 1, 1, 2, 2, 2]
    assert [p.symbol for p in phones if p.accented] == ["IH", "AY"]


def test_an_unknown_word_is_named():
    with pytest.raises(ConfigError, match="xylophone"):
        phones_of("the xylophone died")


def test_language_size_counts_fillings_by_hand():
    # "the {person} died {place}": 20 persons, 12 places; all sad templates together:
    by_hand = 6 * 40 * 12 + 20 * 12 + 20 * 40 * 6 + 6 * 20 * 10 + 6 * 40 * 10
    by_hand += 20 * 6 * 40 + 20 * 12 + 6 * 40
    assert language_size("sad") == by_hand


def test_the_language_is_large_in_every_wording():
    assert set(TEMPLATES) == set(EMOTIONS)
    assert min(language_size(wording) for wording in TEMPLATES) > 3000
    rng = np.random.default_rng(0)
    drawn = {compose(wording, rng) for wording in EMOTIONS for _ in range(4000)}
    assert len(drawn) > 20_000  # 32,000 draws mostly differ


@pytest.mark.parametrize("wording", EMOTIONS)
def test_sentences_have_four_to_nine_words_and_no_hole(wording):
    rng = np.random.default_rng(1)
    for _ in range(500):
        sentence = compose(wording, rng)
        assert 4 <= len(sentence.split()) <= 9, sentence
        assert not set("{}") & set(sentence)


def test_subtitles_are_capitalised():
    assert written("the king died on Monday") == "The king died on Monday."


def test_shares_are_even_and_ignore_case():
    rng = np.random.default_rng(2)
    counts = Counter(share_of(compose("neutral", rng)) for _ in range(10_000))
    assert len(counts) == 20
    assert max(counts.values()) < 1.3 * 500  # 500 expected, sd 22
    assert share_of("The King Died") == share_of("the king died")


def test_a_language_that_is_used_up_is_an_error():
    class Everything(set):
        def __contains__(self, item):
            return True

    with pytest.raises(ValueError, match="too many lines"):
        compose_from("sad", range(20), Everything(), np.random.default_rng(0))


@pytest.mark.parametrize("film", [FILM, LONG_FILM], ids=["default", "long"])
def test_splits_share_no_sentence_and_no_sentence_comes_twice(film):
    texts = [line.text for line in lines_of(film)]
    assert len(set(texts)) == len(texts)
    spoken = {s: {line.text for line in lines_of(film, s)} for s in SHARES_OF}
    assert all(spoken.values())
    for split, sentences in spoken.items():
        assert {share_of(text) for text in sentences} <= set(SHARES_OF[split])
    owners = Counter(share for shares in SHARES_OF.values() for share in shares)
    assert set(owners.values()) == {1}


def test_the_default_film_has_the_promised_splits():
    counts = Counter(scene.split for scene in FILM)
    assert counts == {"train": 16, "validation": 3, "test": 5}
    for scenes in range(1, 60):
        sizes = split_sizes(scenes)
        assert sum(sizes.values()) == scenes
        assert min(sizes.values()) >= 0
        assert sizes["train"] >= 1


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_no_emotion_rules_a_split(split):
    lines = lines_of(FILM, split)
    counts = Counter(line.emotion for line in lines)
    assert set(counts) == set(EMOTIONS)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert max(counts.values()) / len(lines) <= 0.2


def test_every_speaker_says_every_emotion_in_training():
    cells = Counter((line.speaker, line.emotion) for line in lines_of(FILM, "train"))
    assert len(cells) == len(CAST) * len(EMOTIONS)
    speakers = Counter(line.speaker for line in lines_of(FILM))
    assert max(speakers.values()) < 1.4 * min(speakers.values())
    assert {line.speaker for line in lines_of(FILM, "test")} == {actor.name for actor in CAST}


def test_adjacent_lines_have_the_same_emotion_about_as_often_as_planned():
    pairs = [
        (one.emotion, two.emotion)
        for scene in LONG_FILM
        for one, two in zip(scene.lines, scene.lines[1:], strict=False)
    ]
    same = np.mean([one == two for one, two in pairs])
    assert 0.38 < same < 0.55  # 0.125 if the order were random


def test_cues_are_as_reliable_as_the_spec_says():
    lines = lines_of(LONG_FILM)  # 2100 lines: sd of a share is at most 0.011
    for channel, reliability in (("scene_cue", 0.7), ("face_cue", 0.8), ("text_cue", 0.5)):
        hits = np.mean([getattr(line, channel) == line.emotion for line in lines])
        assert hits == pytest.approx(reliability, abs=0.04), channel
    moody = [line for line in lines if line.emotion != "neutral"]
    assert {line.text_cue for line in moody if line.text_cue != line.emotion} == {"neutral"}


def test_the_plan_follows_the_seed_alone():
    assert plan_film(FilmSpec(scenes=4)) == plan_film(FilmSpec(scenes=4))
    assert plan_film(FilmSpec(scenes=4)) != plan_film(FilmSpec(scenes=4, seed=8))


@pytest.mark.parametrize(
    "bad", [{"scenes": 0}, {"width": 255}, {"speakers": 7}, {"face_cue": 1.1}, {"seed": -1}]
)
def test_a_spec_that_cannot_be_filmed_is_refused(bad):
    with pytest.raises(ConfigError, match=next(iter(bad)) if "width" not in bad else "even"):
        FilmSpec(**bad)


@pytest.mark.parametrize(("scenes", "lines"), [(1, 1), (2, 1), (3, 2)])
def test_tiny_films_can_be_planned(scenes, lines):
    film = plan_film(FilmSpec(scenes=scenes, lines_per_scene=lines, speakers=1))
    assert [len(scene.lines) for scene in film] == [lines] * scenes
