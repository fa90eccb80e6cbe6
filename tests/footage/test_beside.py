"""Which subtitle file belongs to which film, and that every other file is named."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redub.core.errors import ClipError, ConfigError
from redub.footage.language import known_language, language_code
from redub.footage.listing import MEDIA_SUFFIXES
from redub.footage.subtitles import SUBTITLE_SUFFIXES
from redub.footage.subtitles.beside import UNREAD_MEDIA, UNREAD_SUBTITLES, files_beside


def chosen(source, *files, language="", others=()):
    return files_beside([source, *others], files, language=language).of(source).path


@pytest.mark.parametrize("suffix", SUBTITLE_SUFFIXES)
@pytest.mark.parametrize("change", [str.lower, str.upper, str.title])
def test_a_file_of_the_same_name_is_read_whatever_the_case_of_its_ending(suffix, change):
    name = f"film{change(suffix)}"
    assert chosen("film.mp4", name) == name
    assert chosen("FILM.MP4", name) == name


@pytest.mark.parametrize(
    "name",
    [
        "film.en.srt",
        "film.eng.srt",
        "film.ENG.srt",
        "film.en-US.srt",
        "film.en_GB.vtt",
        "film.English.srt",
        "film.english.sdh.srt",
        "film.en.hi.srt",
        "film.en.cc.ass",
        "film.sdh.srt",
        "film.default.srt",
        "film (English).srt",
        "film_en.srt",
        "film-English.srt",
        "film [pt-BR].srt",
        "film.pt-br.srt",
        "film.EN_us.srt",
        "film.zh-hans.srt",
        "film.mp4.srt",
        "film.MP4.en.srt",
        "film.en.webvtt",
        "film.itt",
        "Subs/film.srt",
        "subs/film.en.srt",
        "Subtitles/film.srt",
        "Subs/English.srt",
        "Subs/2_English.srt",
        "Subs/film/2_English.srt",
        "SUBS/FILM/3_eng.SRT",
    ],
)
def test_names_with_a_language_and_folders_of_subtitles_belong_to_the_film(name):
    assert chosen("film.mp4", name) == name
    beside = files_beside(["film.mp4"], [name])
    assert beside.all_unused() == []


def test_composed_and_decomposed_accents_are_one_name():
    for film in ("NFC", "NFD"):
        for text in ("NFC", "NFD"):
            source = unicodedata.normalize(film, "Zoë.mp4")
            name = unicodedata.normalize(text, "Zoë.en.srt")
            assert chosen(source, name) == name


def test_a_file_belongs_to_the_longest_name():
    beside = files_beside(["a.mp4", "a.en.mp4"], ["a.srt", "a.en.srt"])
    assert beside.of("a.mp4").path == "a.srt"
    assert beside.of("a.en.mp4").path == "a.en.srt"
    assert beside.all_unused() == []


def test_a_name_with_the_ending_of_a_media_file_belongs_to_that_file():
    beside = files_beside(["film.mp4", "film.mkv"], ["film.mkv.srt", "film.mp4.en.srt"])
    assert beside.of("film.mp4").path == "film.mp4.en.srt"
    assert beside.of("film.mkv").path == "film.mkv.srt"
    assert files_beside(["film.mp4"], ["film.mkv.srt"]).of("film.mp4").path is None


def test_in_a_folder_of_subtitles_a_file_with_the_name_of_the_film_comes_first():
    assert chosen("film.mp4", "Subs/en.srt", "Subs/film.en.srt") == "Subs/film.en.srt"
    assert chosen("film.mp4", "Subs/en.srt", "film.en.srt") == "film.en.srt"


@pytest.mark.parametrize("names", [("a", "A"), ("e\u0301", "\u00e9")])
def test_of_films_with_like_names_each_has_the_file_of_its_exact_name(names):
    films, texts = [f"{name}.mp4" for name in names], [f"{name}.srt" for name in names]
    beside = files_beside(films, [*texts, f"{names[0]}.en.srt"], language="")
    assert [beside.of(film).path for film in films] == texts
    only = files_beside(films, texts[:1])
    assert [only.of(film).path for film in films] == [texts[0], None]


def test_the_wanted_language_wins_over_a_file_without_one():
    files = ("film.srt", "film.de.srt", "film.en.srt")
    assert chosen("film.mp4", *files) == "film.srt"
    assert chosen("film.mp4", *files, language="de") == "film.de.srt"
    assert chosen("film.mp4", *files, language="fr") == "film.srt"
    assert chosen("film.mp4", *files[1:], language="fr") is None
    unused = files_beside(["film.mp4"], files[1:], language="fr").all_unused()
    assert [(u.path, "wanted fr" in u.reason) for u in unused] == [
        ("film.de.srt", True),
        ("film.en.srt", True),
    ]


def test_without_a_wanted_language_the_only_one_or_english_is_read():
    assert chosen("film.mp4", "film.de.srt") == "film.de.srt"
    assert chosen("film.mp4", "film.de.srt", "film.eng.srt") == "film.eng.srt"


def test_several_languages_without_english_are_a_fault_that_names_them():
    choice = files_beside(["film.mp4"], ["film.de.srt", "film.fr.vtt"]).of("film.mp4")
    with pytest.raises(ClipError, match="de, fr; name one in") as refused:
        choice.checked("film.mp4")
    assert refused.value.code == "E-SUB-CHOICE"
    assert {unused.path for unused in choice.unused} == {"film.de.srt", "film.fr.vtt"}


def test_foreign_parts_are_never_the_dialogue_and_are_named():
    beside = files_beside(["film.mp4"], ["film.eng.forced.srt", "film.en.signs.ass"])
    assert beside.of("film.mp4").path is None
    assert all("foreign parts" in unused.reason for unused in beside.all_unused())
    assert len(beside.all_unused()) == 2


def test_text_without_descriptions_of_sounds_is_preferred_and_the_other_named():
    beside = files_beside(["film.mp4"], ["film.en.sdh.srt", "Subs/film.en.srt"])
    assert beside.of("film.mp4").path == "Subs/film.en.srt"
    (other,) = beside.all_unused()
    assert (other.path, "Subs/film.en.srt" in other.reason) == ("film.en.sdh.srt", True)


def test_subtitles_without_a_language_in_a_folder_of_several_films_are_named():
    beside = files_beside(["a.mp4", "b.mp4"], ["Subs/English.srt"])
    assert not beside.choices
    (unused,) = beside.all_unused()
    assert "no media file has this name" in unused.reason


def test_a_name_that_nearly_fits_is_answered_with_the_nearest_film():
    (unused,) = files_beside(["harbour.mp4", "ship.mp4"], ["harbor.srt"]).all_unused()
    assert "harbour.mp4" in unused.reason


def test_other_words_in_a_name_are_not_guessed_to_be_the_film():
    beside = files_beside(["film.mp4"], ["film.directors.cut.srt"])
    assert beside.of("film.mp4").path is None
    assert "directors cut" in beside.all_unused()[0].reason


@pytest.mark.parametrize("name", ["film-2.srt", "film 2.srt", "film_2.srt", "film.2.srt"])
def test_a_number_after_the_name_is_another_film(name):
    beside = files_beside(["film.mp4"], [name])
    assert beside.of("film.mp4").path is None
    assert len(beside.all_unused()) == 1


def test_pictures_of_words_are_named_and_not_read_as_frame_numbers():
    beside = files_beside(["film.mp4"], ["film.idx", "film.sub"])
    assert beside.of("film.mp4").path is None
    assert {unused.path for unused in beside.all_unused()} == {"film.idx", "film.sub"}


@pytest.mark.parametrize("suffix", sorted(UNREAD_SUBTITLES | UNREAD_MEDIA))
def test_media_and_subtitles_of_other_kinds_are_named(suffix):
    (unused,) = files_beside(["film.mp4"], [f"film{suffix.upper()}"]).all_unused()
    assert suffix in unused.reason
    assert suffix not in MEDIA_SUFFIXES
    assert suffix not in SUBTITLE_SUFFIXES


def test_files_of_no_such_kind_are_left_alone():
    assert files_beside(["film.mp4"], ["notes.md", "cast.csv", "cover.jpg"]).all_unused() == []


WORD = st.sampled_from(["film", "Film", "a", "en", "de", "forced", "sdh", "cut", "2", "Zoë", "hi"])
NAME = st.lists(WORD, min_size=1, max_size=4).map(".".join)
PLACE = st.sampled_from(["", "Subs/", "subs/film/", "one/", "one/Subs/"])
FILES = st.sets(st.builds("{}{}{}".format, PLACE, NAME, st.sampled_from([".srt", ".VTT", ".sub"])))
SOURCES = st.sets(st.builds("{}{}.mp4".format, st.sampled_from(["", "one/"]), NAME))


@given(SOURCES, FILES, st.sampled_from(["", "en", "de", "fr"]))
def test_every_subtitle_file_is_read_or_named_and_never_both_for_one_film(sources, files, language):
    beside = files_beside(sources, files, language=language)
    read = {choice.path for choice in beside.choices.values()} - {None}
    named = {unused.path for unused in beside.all_unused()}
    assert read | named == files
    for choice in beside.choices.values():
        assert choice.path not in {unused.path for unused in choice.unused}
    assert files_beside(sorted(sources), sorted(files)[::-1], language=language) == beside


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("en", "en"), ("ENG", "en"), ("English", "en"), ("german", "de"), ("ger", "de"),
        ("deu", "de"), ("fre", "fr"), ("pt-BR", "pt"), ("zh_Hans", "zh"), ("chi", "zh"),
        ("the", ""), ("man", ""), ("cut", ""), ("forced", ""), ("", ""), ("1080p", ""),
    ],
)  # fmt: skip
def test_languages_are_known_by_code_and_by_english_name(word, code):
    assert language_code(word) == code


def test_an_unknown_language_in_a_setting_is_refused():
    assert known_language("English", "footage.subtitles_language") == "en"
    with pytest.raises(ConfigError, match=r"footage\.subtitles_language is 'klingonish'"):
        known_language("klingonish", "footage.subtitles_language")
