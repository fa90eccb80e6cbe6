"""``pronunciations.csv``: what is read, its place before all other sources, and clear errors."""

from __future__ import annotations

import os

import pytest

from redub.core.errors import ConfigError
from redub.features.text.own_words import own_words_folder, read_own_words
from redub.features.text.phonemes import PhonemeConfig, PhonemeExtractor
from redub.features.text.pronunciation import complete, say

ZED = ("Z", "EH", "D")


def own(tmp_path, text):
    path = tmp_path / "pronunciations.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_arpabet_with_or_without_stress_and_ipa_are_the_same(tmp_path):
    path = own(tmp_path, "word,phones\n# a comment\n\nzed,Z EH1 D\nZee,z eh d\nzet,/ˈzɛd/\n")
    assert read_own_words(path) == {"zed": ZED, "zee": ZED, "zet": ZED}


def test_ipa_takes_the_longest_sign():
    # cheese tʃ iː z, boy b ɔɪ
    from redub.features.text.own_words import _ipa

    assert _ipa(None, 1, "/tʃiːz/") == ("CH", "IY", "Z")
    assert _ipa(None, 1, "/bɔɪ/") == ("B", "OY")


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("zed", "line 2 is not a word and its phones"),
        ("zed,", "line 2 is not a word and its phones"),
        ("zed,Z EH D,x", "line 2 is not a word and its phones"),
        ("zed,Z EX D", "line 2 has the phone 'EX'"),
        ("two words,T UW", "line 2 has a space in 'two words'"),
        ("zed,/zød/", "line 2 has the IPA sign 'ø'"),
        ("zed,//", "line 2 has no phones"),
        ("one,W AA N", "line 2 gives 'one' again, after line 1"),
    ],
)
def test_an_error_names_the_file_and_the_line(tmp_path, row, what):
    path = own(tmp_path, f"one,W AH N\n{row}\n")
    with pytest.raises(ConfigError) as refusal:
        read_own_words(path)
    assert refusal.value.code == "E-CFG-TABLE"
    assert f"pronunciations.csv {what}" in refusal.value.message


def test_a_file_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "pronunciations.csv"
    path.write_bytes("naïve,N AY IY V".encode("latin-1"))
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_own_words(path)


def test_the_users_pronunciation_comes_before_the_dictionary_and_the_letters(tmp_path):
    own(tmp_path, "door,D UW R\nz,Z EH D\nnasa,N AA S AA\n")
    extractor = PhonemeExtractor(PhonemeConfig(), {"pronunciations": own_words_folder(tmp_path)})
    said = {w.text.lower(): (w.phones, w.source) for w in extractor.words("Door Z NASA kid")}
    assert said["door"] == (("D", "UW", "R"), "own")
    assert said["z"] == (ZED, "own")
    assert said["nasa"] == (("N", "AA", "S", "AA"), "own")
    assert said["kid"][1] == "dictionary"


def test_inflections_of_the_users_words_are_known():
    own = {"zorblax": ("Z", "AO", "R", "B", "L", "AE", "K", "S")}
    said = complete(say("two zorblaxes", own=own))
    assert said[1].phones[-3:] == ("S", "IH", "Z")
    assert said[1].source == "rule"


def test_without_a_file_there_is_no_folder(tmp_path):
    assert own_words_folder(tmp_path) is None


@pytest.mark.parametrize("kind", ["folder", "broken link", "pipe"])
def test_what_is_no_file_is_refused_and_not_left_out(tmp_path, kind):
    path = tmp_path / "pronunciations.csv"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("nowhere.csv")
    with pytest.raises(ConfigError, match="no file that can be read") as refused:
        own_words_folder(tmp_path)
    assert refused.value.code == "E-CFG-TABLE"
