"""Regular inflections: their endings are those of the dictionary's own inflected words."""

from __future__ import annotations

import pytest

from redub.features.text.inflection import inflected
from redub.features.text.pronunciation import builtin_lookup, dictionary


@pytest.mark.parametrize(
    ("word", "phones"),
    [
        # Stems from the dictionary; endings by the rules of English.
        ("wugs", "W AH G Z"),
        ("wug's", "W AH G Z"),
        ("wugging", "W AH G IH NG"),
        ("wugged", "W AH G D"),
        ("kets", "K EH T S"),
        ("keted", "K EH T IH D"),
        ("fashes", "F AE SH IH Z"),
        ("fashed", "F AE SH T"),
        ("fashin'", "F AE SH AH N"),
        ("wugly", "W AH G L IY"),
        ("wug'll", "W AH G AH L"),
        ("snie's", "S N AY Z"),
        ("snies", "S N AY Z"),
    ],
)
def test_endings_follow_the_last_sound_of_the_stem(word, phones):
    stems = {"wug": "W AH G", "ket": "K EH T", "fash": "F AE SH", "sny": "S N AY", "snie": "S N AY"}
    lookup = {stem: tuple(said.split()) for stem, said in stems.items()}.get
    assert " ".join(inflected(word, lookup) or ()) == phones


def test_a_word_without_a_known_stem_is_unknown():
    assert inflected("blorfs", builtin_lookup) is None
    assert inflected("bus", {"bu": ("B", "UW")}.get) is None  # no plural of "bu"


@pytest.mark.parametrize("ending", ["s", "ing", "ed"])
def test_the_sound_of_an_ending_is_that_of_the_dictionary(ending):
    # The dictionary itself is the oracle: derive each word from its stem alone, and compare what
    # comes after the stem. IH and AH are the same reduced vowel in an ending.
    table = dictionary()
    right = tried = 0
    for word in sorted(table)[::7]:
        stem = word.removesuffix(ending)
        if not word.endswith(ending) or stem not in table or len(stem) < 3 or not word.isalpha():
            continue
        made = inflected(word, lambda w, own=word: None if w == own else table.get(w))
        if made is None:
            continue
        tried += 1
        last = len(made) - len(table[stem])
        tails = [[p.replace("IH", "AH") for p in said[-last:]] for said in (made, table[word])]
        right += tails[0] == tails[1]
    assert tried > 100
    assert right / tried >= 0.95
