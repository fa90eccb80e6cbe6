import pytest

from redub.core.errors import ConfigError, FeatureAbsent, MissingExtraError, ModelRefusedError
from redub.core.phonemes import symbol_of
from redub.features.text import espeak
from redub.features.text.lexicon import LexiconConfig, LexiconPhonemes, read_lexicon
from redub.features.weights.folder import WeightFolder
from tests.features.paper.ledgers import CPU, folder_of
from tests.features.paper.lexicon_files import CMUDICT_07B, CMUDICT_DICT, MFA, make_lexicon
from tests.features.voices import media_of


def lexicon(path, **settings) -> LexiconPhonemes:
    folder = folder_of(path, "lexicon")
    return LexiconPhonemes(LexiconConfig(**settings), {"lexicon": folder}, CPU)


def phones(extractor, text):
    rows = extractor.extract(media_of(text=text))
    assert (rows.shape[1], rows.dtype.name) == (1, extractor.schema.dtype)
    return " ".join(symbol_of(int(phoneme)) for phoneme in rows[:, 0])


def test_stress_is_dropped_and_the_first_way_to_say_a_word_counts(tmp_path):
    # By hand from the lines of the file: A has AH0 before EY1.
    assert phones(lexicon(make_lexicon(tmp_path)), "A kids' DOOR, don't!") == (
        "AH K IH D Z D AO R D OW N T"
    )


@pytest.mark.parametrize(
    ("text", "encoding", "word", "said"),
    [
        (CMUDICT_07B, "latin-1", "read", "R EH D"),
        (CMUDICT_07B, "latin-1", "'bout", "B AW T"),
        (CMUDICT_07B, "utf-8", "read", "R EH D"),
        (CMUDICT_DICT, "utf-8", "read", "R IY D"),  # the first line of the word in this file
        (CMUDICT_DICT, "utf-8", "d'artagnan", "D AH R T AE NG Y AH N"),
        (MFA, "utf-8", "door kids", "D AO R K IH T S"),
        ("\ufeffdoor D AO1 R\r\n\r\n", "utf-8", "door", "D AO R"),
    ],
)
def test_every_public_format_is_read(tmp_path, text, encoding, word, said):
    assert phones(lexicon(make_lexicon(tmp_path, text=text, encoding=encoding)), word) == said


def test_unknown_words_are_named_all_at_once_and_none_is_guessed(tmp_path):
    with pytest.raises(FeatureAbsent) as refusal:
        phones(lexicon(make_lexicon(tmp_path)), "The window of the kids, the window and the door")
    assert refusal.value.code == "E-TEXT-OOV"
    assert "'lexicon': window, of, and;" in refusal.value.message


def test_hyphened_words_fall_apart(tmp_path):
    assert phones(lexicon(make_lexicon(tmp_path)), "kids-door") == "K IH D Z D AO R"


def test_an_empty_line_has_no_phonemes(tmp_path):
    with pytest.raises(FeatureAbsent) as refusal:
        phones(lexicon(make_lexicon(tmp_path)), "...")
    assert refusal.value.code == "E-TEXT-NONE"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("DOOR\tD AO1 R\nKIDS\tK I D Z\n", r"line 2 has the phone 'I' of 'KIDS'"),
        ("door\td ɔː ɹ\n", r"line 1 has the phone 'ɔː'"),
        ("DOOR\n", r"line 1 has no phones for 'DOOR'"),
        ("DOOR\t0.5\t0.25\n", r"line 1 has no phones"),
        ("DOOR\tAH3\n", r"the phone 'AH3'"),
        ("DOOR\tD1 AO R\n", r"the phone 'D1'"),
        (";;; only a comment\n<unk>\tspn\n", r"no word in it"),
    ],
)
def test_a_file_that_is_no_lexicon_is_refused_with_its_line(tmp_path, text, says):
    with pytest.raises(ModelRefusedError, match=says) as refusal:
        read_lexicon(folder_of(make_lexicon(tmp_path, text=text), "lexicon"))
    assert (refusal.value.code, refusal.value.exit_code) == ("E-MODEL-FILE", 8)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_called_by_its_name(tmp_path, encoding):
    make_lexicon(tmp_path, text="DOOR\tD AO1 R\n", encoding=encoding)
    with pytest.raises(ModelRefusedError, match=r"looks like UTF-16 .*; save it as UTF-8") as no:
        read_lexicon(folder_of(tmp_path, "lexicon"))
    assert no.value.code == "E-MODEL-FILE"


def test_a_page_without_blanks_is_not_quoted_in_full(tmp_path):
    for line in ("x" * 100_000, f"DOOR {'x' * 100_000}"):
        with pytest.raises(ModelRefusedError, match="line 1 has") as no:
            read_lexicon(folder_of(make_lexicon(tmp_path, text=line), "lexicon"))
        assert len(no.value.message) < 400


def test_two_files_are_one_too_many(tmp_path):
    (make_lexicon(tmp_path) / "readme.txt").write_text("about this lexicon\n")
    with pytest.raises(ModelRefusedError, match=r"holds 2 files .*add lexicon FILE"):
        read_lexicon(folder_of(tmp_path, "lexicon"))


def test_a_git_lfs_pointer_is_not_taken_for_words(tmp_path):
    make_lexicon(tmp_path, text="version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(ModelRefusedError) as refusal:
        read_lexicon(folder_of(tmp_path, "lexicon"))
    assert refusal.value.code == "E-MODEL-LFS"


def test_only_the_recorded_file_is_opened(tmp_path):
    folder = make_lexicon(tmp_path)
    unlisted = WeightFolder(name="lexicon", path=folder, files={"other.txt": "0" * 64})
    with pytest.raises(ModelRefusedError, match=r"other\.txt"):
        read_lexicon(unlisted)


def test_the_entry_of_the_ledger_can_have_another_name():
    wanted = LexiconPhonemes.weights_wanted(LexiconConfig(weights="british"))
    assert wanted == {"lexicon": ("british", "lexicon")}


def test_keys_are_made_without_reading_the_file():
    gone = WeightFolder(name="lexicon", path=None, files={"gone.txt": "0" * 64})
    extractor = LexiconPhonemes(LexiconConfig(), {"lexicon": gone}, CPU)
    assert extractor.schema.width == 1


def test_espeak_is_asked_only_for_what_the_lexicon_lacks(tmp_path, monkeypatch):
    asked = []

    def lookup(word):
        asked.append(word)
        return ("F", "UW") if word == "foo" else None

    monkeypatch.setattr("redub.features.text.lexicon.espeak_lookup", lookup)
    monkeypatch.setattr(espeak, "installed_version", lambda: "0.2.4")
    extractor = lexicon(make_lexicon(tmp_path), then="espeak")
    assert extractor.config.espeak == "0.2.4"
    assert phones(extractor, "the foo-door 'foo'") == "DH AH F UW D AO R F UW"
    assert set(asked) == {"foo"}
    with pytest.raises(FeatureAbsent, match=r"nor sayable by espeak-ng: roses;"):
        phones(extractor, "the roses")


def test_espeak_must_be_installed_to_be_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(espeak, "installed_version", lambda: "")
    with pytest.raises(MissingExtraError, match=r"redub\[espeak\]") as missing:
        lexicon(make_lexicon(tmp_path), then="espeak")
    assert missing.value.exit_code == 4


def test_a_pinned_version_that_is_not_there_stops_before_any_work(monkeypatch):
    monkeypatch.setattr(espeak, "installed_version", lambda: "0.2.4")
    with pytest.raises(ConfigError, match=r"'0\.1'.*0\.2\.4"):
        LexiconConfig(then="espeak", espeak="0.1")
    with pytest.raises(ConfigError, match=r"'then' is 'none'"):
        LexiconConfig(espeak="0.2.4")


def test_the_version_of_espeak_is_in_the_settings_only_where_it_is_asked(monkeypatch):
    monkeypatch.setattr(espeak, "installed_version", lambda: "0.2.4")
    assert LexiconConfig() == LexiconConfig(then="none", espeak="")
    asked = LexiconConfig(then="espeak")
    monkeypatch.setattr(espeak, "installed_version", lambda: "0.3.0")
    assert LexiconConfig(then="espeak") != asked
