"""The mapping is checked always; what espeak-ng really says only where the extra is installed."""

import subprocess
import sys

import pytest

from redub.core.errors import ConfigError, FeatureAbsent, MissingExtraError
from redub.core.phonemes import symbol_of
from redub.features.text import espeak
from redub.features.text.espeak import (
    ARPABET,
    EspeakConfig,
    EspeakPhonemes,
    espeak_lookup,
    nearest_phones,
)
from redub.features.text.pronunciation import PHONES, dictionary
from tests.features.voices import media_of

installed = pytest.mark.skipif(
    not espeak.installed_version(), reason="the extra 'espeak' (GPL-3.0) is not installed"
)


@pytest.fixture
def saying(monkeypatch):
    """espeak-ng replaced by a table of what it writes."""

    def replace(**table):
        monkeypatch.setattr(espeak, "installed_version", lambda: "0.2.4")
        monkeypatch.setattr(
            espeak, "ipa_signs", lambda word, voice="": tuple(table.get(word, "").split())
        )

    return replace


def phones(text):
    rows = EspeakPhonemes(EspeakConfig()).extract(media_of(text=text))
    return " ".join(symbol_of(int(phoneme)) for phoneme in rows[:, 0])


def test_the_mapping_reaches_every_phone_of_arpabet_and_no_other():
    assert {phone for said in ARPABET.values() for phone in said} == PHONES


def test_signs_become_phones(saying):
    saying(little="l ɪ ɾ əl", choose="tʃ uː z", nutshell="n ʌ t ʃ ɛ l", fire="f aɪɚ")
    assert phones("Little!") == "L IH T AH L"
    assert phones("choose nutshell") == "CH UW Z N AH T SH EH L"  # tʃ is one sign, t ʃ are two
    assert phones("fire") == "F AY ER"


def test_an_r_after_an_r_coloured_vowel_is_said_once(saying):
    saying(marie="m ɚ ɹ iː", carry="k æ ɹ i", err="ɹ")
    assert phones("marie carry err") == "M ER IY K AE R IY R"


def test_words_with_a_sound_that_arpabet_lacks_are_all_named_with_the_sounds(saying):
    saying(two="t uː", roses="ɹ oʊ z ᵻ z", loch="l ɑː x", mute="")
    with pytest.raises(FeatureAbsent) as refusal:
        phones("two roses, roses, mute and loch")
    assert refusal.value.code == "E-TEXT-OOV"
    assert "roses, mute, and, loch;" in refusal.value.message
    assert "without an exact phone: ᵻ x)" in refusal.value.message


def test_without_the_extra_it_is_named(monkeypatch):
    monkeypatch.setattr(espeak, "installed_version", lambda: "")
    config = EspeakConfig()
    with pytest.raises(MissingExtraError, match=r"pip install 'redub\[espeak\]'") as missing:
        EspeakPhonemes(config)
    assert missing.value.exit_code == 4


def test_another_version_than_the_pinned_one_is_refused(monkeypatch):
    monkeypatch.setattr(espeak, "installed_version", lambda: "0.2.4")
    assert EspeakConfig().espeak == EspeakConfig(espeak="0.2.4").espeak == "0.2.4"
    with pytest.raises(ConfigError, match=r"'0\.3'"):
        EspeakConfig(espeak="0.3")


def test_importing_the_makers_loads_no_espeak():
    code = "import redub.features.text.lexicon, sys; print('espeakng_loader' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@installed
def test_espeak_says_words_as_the_dictionary_does():
    # Entries of the CMU dictionary, an independent source.
    for word in ("hello", "kids", "talking", "door", "button", "choose", "water", "marie"):
        assert espeak_lookup(word) == dictionary()[word], word


@installed
def test_words_that_no_dictionary_has_are_said():
    assert phones("Zorblax!") == "Z AO R B L AE K S"


@installed
def test_reduced_vowels_and_foreign_sounds_are_not_bent():
    with pytest.raises(FeatureAbsent, match=r"roses, loch; .*ᵻ x"):
        phones("the roses by the loch")


@installed
def test_every_sign_of_the_dictionarys_words_is_mapped_or_left_out_on_purpose():
    left_out = {"ᵻ", "x", "ɬ", "r", "ɑ̃", "ɔ̃", "nʲ", "ɡʲ", "o", "iːː"}
    words = sorted(dictionary())[::40]
    signs = {sign for word in words for sign in espeak.ipa_signs(word)}
    assert signs - ARPABET.keys() <= left_out


def test_a_sound_of_another_language_becomes_the_nearest_english_phone(saying):
    # German: Ich (ɪ ç), schön (ʃ øː n), Euro (ɔø r oː); French: bon (b ɔ̃)
    saying(ich="ɪ ç", schön="ʃ øː n", euro="ɔø r oː", bon="b ɔ̃", zeit="ts aɪ t")
    said = {w: nearest_phones(w, "xx") for w in ("ich", "schön", "euro", "bon", "zeit", "still")}
    assert said == {
        "ich": ("IH", "HH"),
        "schön": ("SH", "ER", "N"),
        "euro": ("OY", "R", "OW"),
        "bon": ("B", "AO", "N"),
        "zeit": ("T", "S", "AY", "T"),
        "still": None,  # silence
    }


@installed
def test_german_is_said_by_german_rules_and_english_rules_are_not_used():
    extractor = EspeakPhonemes(EspeakConfig())
    (words,) = [extractor.words("Guten Tag, Zeit!", "de")]
    assert [w.text for w in words] == ["guten", "tag", "zeit"]
    assert words[2].phones == ("T", "S", "AY", "T")  # z is ts; in English it is not
    assert extractor.words("die", "en")[0].phones == ("D", "AY")
    assert extractor.words("die", "de")[0].phones == ("D", "IY")
    assert extractor.words("die", "en")[0].phones == ("D", "AY")  # the voice is set for each word
