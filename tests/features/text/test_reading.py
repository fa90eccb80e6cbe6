"""How lines are read: a table of readings written by hand, and the law that nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from redub.features.text.pronunciation import LETTERS, known_word, pronounce
from redub.features.text.reading.line import Reading, read_line
from redub.features.text.reading.numbers import cardinal, ordinal, plural_of_last
from redub.features.text.reading.units import CURRENCIES, MONTHS, SCALES, UNITS
from redub.features.text.reading.word_rules import ABBREVIATIONS, roman_value

TABLE = Path(__file__).with_name("readings.txt")
ROWS = [
    tuple(cell.strip() for cell in line.split(" | "))
    for line in TABLE.read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("# ")
]


def read(text: str) -> Reading:
    return read_line(text, known_word)


def said(text: str) -> str:
    return " ".join(word.text for word in read(text).words)


def test_the_table_has_at_least_two_hundred_different_rows():
    assert len({written for written, _ in ROWS}) == len(ROWS) >= 200


@pytest.mark.parametrize(("written", "spoken"), ROWS)
def test_a_line_is_said_as_the_table_says(written, spoken):
    assert said(written) == spoken


def test_a_reading_stays_the_same_inside_a_sentence():
    # Entries that need no context of their own, between two plain words.
    for written, spoken in ROWS:
        if written[0].isdigit() and written[-1].isdigit() and " " not in written:
            inside = said(f"They saw {written}, maybe.")
            if len(written) == 4 or written == "911":
                continue  # a number of four digits may be a year
            assert inside == f"they saw {spoken} maybe", written


SPICE = st.sampled_from(
    ["$", "£", "½", "²", "1", "23", "1984", ".", ",", ":", "/", "-", "–", "'", "’", '"', " ", "a",
     "I", "VIII", "Mr.", "St.", "😀", "e\u0301", "\u200b", "\u00ad", "(", ")", "[", "]", "#", "@",
     "com", "www.", "https://", "Henry", "Part", "NOOO", "th-", "km", "%", "°", "C", "pm", "st",
     "Ⅷ", "٣", "ß", "한", "مرحبا", "<i>", "♪", "*", "~", "^", "=", "_", "…", "\t", "\n", "s", "x"]
)  # fmt: skip
LINES = st.one_of(st.text(max_size=40), st.lists(SPICE, max_size=14).map("".join))


@given(LINES)
@settings(max_examples=2000, deadline=None)
@example("3½ kg\u0301")
@example("w-")
@example("'")
@example("1/0 5'")
def test_every_character_is_in_a_word_or_in_a_named_kind_that_is_not_spoken(text):
    reading = read(text)
    covered = [0] * len(text)
    for start, end in {(w.start, w.end) for w in reading.words}:
        for place in range(start, end):
            covered[place] += 1
    for silent in reading.silent:
        assert silent.kind
        assert silent.text == text[silent.start : silent.end] != ""
        assert (silent.name != "") == (silent.kind == "sign")
        for place in range(silent.start, silent.end):
            covered[place] += 1
    assert covered == [1] * len(text)  # neither lost nor counted twice
    assert all(word.text.strip() == word.text != "" for word in reading.words)
    starts = [word.start for word in reading.words]
    assert starts == sorted(starts)


@given(LINES)
@settings(max_examples=500, deadline=None)
def test_letters_and_digits_are_spoken_unless_a_bracket_or_an_address_holds_them(text):
    reading = read(text)
    for silent in reading.silent:
        if silent.kind not in ("stage direction", "markup", "scheme", "emoticon"):
            assert not any(c.isalnum() for c in silent.text), silent


@given(st.integers(0, 10**12))
@settings(deadline=None)
def test_every_whole_number_can_be_pronounced(number):
    assert pronounce(f"{number:,}")
    assert pronounce(str(number))


@pytest.mark.parametrize("mark", ["’", "‘", "ʼ", "`"])
def test_every_kind_of_apostrophe_is_the_same(mark):
    assert said(f"don{mark}t") == "don't"


def test_composed_and_decomposed_letters_are_the_same_word():
    assert said("cafe\u0301 nai\u0308ve") == said("café naïve") == "cafe naive"


def test_an_emoji_is_named_and_not_spoken():
    (silent,) = (s for s in read("Hi 😀!").silent if s.kind == "sign")
    assert (silent.text, silent.name) == ("😀", "grinning face")


def test_what_is_not_spoken_is_named_by_its_kind():
    kinds = {s.text: s.kind for s in read("[Door] <b>Hi</b> ♪ (sighs) :) https://a.com").silent}
    assert {kinds[k] for k in ("[Door]", "(sighs)")} == {"stage direction"}
    assert (kinds["<b>"], kinds["♪"], kinds[":)"]) == ("markup", "music", "emoticon")
    assert kinds["https://"] == "scheme"


def test_a_word_of_the_user_is_not_changed_by_any_rule():
    own = {"ksp", "c++", "r2d2"}.__contains__
    words = [w.text for w in read_line("C++, R2D2 and Ksp.", known_word, own=own).words]
    assert words == ["c++", "r2d2", "and", "ksp"]


def test_the_dictionary_says_its_initialisms_letter_by_letter():
    for word in ("FBI", "HTML", "CIA", "IBM"):
        spelled = [p for letter in word for p in LETTERS[letter]]
        assert [p for w in pronounce(word) for p in w.phones] == spelled, word


def test_roman_numerals_have_their_values():
    # The numerals of the first ten, and the ones with subtraction.
    numerals = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X"]
    assert [roman_value(numeral) for numeral in numerals] == list(range(1, 11))
    assert [roman_value(n) for n in ("XIV", "XIX", "XL", "XLIX", "LXXXIX")] == [14, 19, 40, 49, 89]


def test_the_words_of_a_number_come_from_its_characters():
    text = "On 5 km/h."
    five = next(word for word in read(text).words if word.text == "hour")
    assert text[five.start : five.end] == "5 km/h"


def test_every_word_that_a_table_of_rules_writes_can_be_pronounced():
    words = {w for one, many in UNITS.values() for w in (*one, *many)}
    words |= {w for names in CURRENCIES.values() for w in names if w}
    words |= {w for full, _ in ABBREVIATIONS.values() for w in full.split()}
    words |= {*MONTHS.values(), *SCALES.values()}
    for number in [*range(130), *(10**k for k in range(3, 15))]:
        for spelled in (cardinal(str(number)), ordinal(str(number))):
            words |= {*spelled, *plural_of_last(spelled)}
    assert len(words) > 200
    for word in sorted(words):
        assert pronounce(word)


def test_a_number_without_a_name_is_read_digit_by_digit():
    assert said("1" + "0" * 15) == "one" + " zero" * 15
