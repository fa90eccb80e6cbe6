import pytest
from hypothesis import given
from hypothesis import strategies as st

from redub.core.errors import FeatureAbsent
from redub.core.phonemes import symbol_of
from redub.features.registry import FEATURE_BACKENDS, extractor_class
from redub.features.text.phonemes import PhonemeConfig, PhonemeExtractor, phoneme_ids
from redub.features.text.pronunciation import (
    PHONES,
    complete,
    plain_phone,
    pronounce,
    say,
    spoken_words,
)
from tests.features.voices import AUDIO, media_of


def phones(text: str) -> str:
    return " ".join(symbol_of(int(phoneme)) for phoneme in phoneme_ids(text))


def test_a_line_is_said_as_the_cmu_dictionary_says_it():
    # Entries looked up by hand: KIDS K IH D Z, BY B AY, THE DH AH (first of two), DOOR D AO R.
    assert phones("Kids by the door.") == "K IH D Z B AY DH AH D AO R"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("“Don’t!” — SHE SAID…", ["don't", "she", "said"]),
        ("Mr. Smith & Dr. Jones", ["mister", "smith", "and", "doctor", "jones"]),
        ("the kids' toys, 'bout 7", ["the", "kids'", "toys", "'bout", "seven"]),
        ("(sighs) Well [door slams] no", ["well", "no"]),
        ("a café", ["a", "cafe"]),
        ("1,205.5%", ["one", "thousand", "two", "hundred", "five", "point", "five", "percent"]),
        ("wait--what", ["wait", "what"]),
    ],
)
def test_text_is_read_as_it_is_spoken(written, said):
    assert spoken_words(written) == said


@given(st.integers(0, 999_999))
def test_every_spelled_number_can_be_pronounced(number):
    assert pronounce(str(number))


def test_hyphened_words_fall_apart_only_when_unknown():
    assert [w.text for w in pronounce("twenty-one")] == ["twenty-one"]  # an entry of its own
    assert [w.text for w in pronounce("door-chair")] == ["door", "chair"]


def test_all_unknown_words_are_named_at_once_and_none_is_guessed():
    with pytest.raises(FeatureAbsent) as refusal:
        phoneme_ids("The blorfy kid met Zoxqv and blorfy")
    assert refusal.value.code == "E-TEXT-OOV"
    assert "blorfy, zoxqv;" in refusal.value.message


@pytest.mark.parametrize("text", ["", "   ", "...!", "[music]"])
def test_a_line_without_words_has_no_phonemes(text):
    with pytest.raises(FeatureAbsent) as refusal:
        phoneme_ids(text)
    assert refusal.value.code == "E-TEXT-NONE"


def test_the_extractor_keeps_its_schema():
    extractor = PhonemeExtractor(PhonemeConfig())
    value = extractor.extract(media_of(text="by the door"))
    assert (value.shape, value.dtype.name) == ((7, 1), extractor.schema.dtype)


def test_stress_is_cut_off_vowels_and_nothing_else_is_a_phone():
    assert [plain_phone(p) for p in ("AH0", "ah", "IY2", "s", "HH")] == [
        "AH",
        "AH",
        "IY",
        "S",
        "HH",
    ]
    assert {plain_phone(p) for p in ("S1", "AH3", "AH00", "0", "", "sil", "ɑː")} == {None}
    assert len(PHONES) == 39  # the CMU dictionary's


def test_another_lookup_keeps_the_rules_around_it():
    table = {"by": ("B", "AY"), "door": ("D", "AO", "R")}
    guess = {"foo": ("F", "UW")}.get
    said = complete(say("By-door 'foo'", table.get, otherwise=guess))
    assert [w.text for w in said] == ["by", "door", "foo"]
    with pytest.raises(FeatureAbsent, match="not in the big book: bar;"):
        complete(say("door-bar bar foo", table.get, otherwise=guess), place="the big book")


def test_every_backend_of_phonemes_and_durations_is_in_the_registry():
    backends = {name: set(FEATURE_BACKENDS[name]) for name in ("phonemes", "durations")}
    assert backends == {"phonemes": {"lexicon", "espeak"}, "durations": {"textgrid", "ctc", "hama"}}
    for name, own in backends.items():
        for backend in own:
            kind = extractor_class(name, backend)
            assert kind.Config(**({"audio": AUDIO} if name == "durations" else {}))
