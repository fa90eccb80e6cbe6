import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from redub.core.errors import FeatureAbsent
from redub.core.phonemes import SIL, id_of, symbol_of
from redub.core.types import AudioSpec
from redub.features import clip_files
from redub.features.sound.durations import TimedPhone, rows_on_mel_clock
from redub.features.sound.textgrid import (
    TextGridConfig,
    TextGridDurations,
    parse_textgrid,
    phone_tier,
)
from redub.features.text.phonemes import phoneme_ids
from tests.features.paper.ledgers import CPU, folder_of
from tests.features.paper.textgrid_files import (
    SEE_SUE,
    WORDS,
    long_text,
    make_textgrids,
    short_text,
)
from tests.features.voices import AUDIO, media_of

CINEMA = AudioSpec(sample_rate_hz=22_050, n_fft=1024, hop_samples=256, win_samples=1024)


def file_of(clip, files):
    return clip_files.file_of(clip, files, ".TextGrid", code="E-ALIGN-FILE")


def rows_for(path, *, text="see sue", seconds=2.1, audio=AUDIO, clip=None, **settings):
    samples = round(seconds * audio.sample_rate_hz)
    media = media_of(
        0.01 * np.ones(samples),
        text=text,
        rate=audio.sample_rate_hz,
        features={"phonemes": phoneme_ids(text)[:, None]},
    )
    if clip is not None:
        media = dataclasses.replace(media, clip=dataclasses.replace(media.clip, **clip))
    config = TextGridConfig(audio=audio, **settings)
    return TextGridDurations(config, {"textgrids": folder_of(path, "textgrids")}, CPU).extract(
        media
    )


def named(rows):
    return [(symbol_of(int(phone)), int(frames)) for phone, frames in rows]


CLIP = {"clip_id": "Film~night-0003", "source": "Film/night.mp4", "start_frame": 0}


# -- the two text formats


TIERS = {"words": WORDS, "phones": SEE_SUE}


@pytest.mark.parametrize("write", [long_text, short_text])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_long_and_short_text_hold_the_same_in_every_encoding(write, encoding, line_end):
    grid = parse_textgrid(write(2.1, TIERS).replace("\n", line_end).encode(encoding))
    assert grid.end_s == 2.1
    assert {name: [tuple(i) for i in tier] for name, tier in grid.tiers.items()} == {
        name: list(tier) for name, tier in TIERS.items()
    }


def test_the_example_of_the_praat_manual_is_read():
    # Its three spellings of one grid: "TextGrid file formats" and its page on comments.
    spelt = (
        'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = 2.3\n'
        'tiers? <exists>\nsize = 2\nitem []:\n item [1]:\n class = "IntervalTier"\n'
        'name = "Mary"\nxmin = 0\nxmax = 2.3\nintervals: size = 1\nintervals [1]:\nxmin = 0\n'
        'xmax = 2.3\ntext = ""\nitem [2]:\nclass = "TextTier"\nname = "bell"\nxmin = 0\n'
        "xmax = 2.3\npoints: size = 0\n",
        'File type = "ooTextFile short"\n"TextGrid"\n\n0\n2.3\n<exists>\n2\n"IntervalTier"\n'
        '"Mary"\n0\n2.3\n1\n0\n2.3\n""\n"TextTier"\n"bell"\n0\n2.3\n0\n',
        '"ooTextFile"\n"TextGrid"\n0 2.3 ! start and end "of" 9\n<exists> 2 tiers\n'
        '"IntervalTier" named "Mary" from 0 to 2.3 with 1 interval\n0 2.3 ""\n'
        '"TextTier" "bell" 0 2.3 0\n',
    )
    for text in spelt:
        grid = parse_textgrid(text.encode())
        assert (grid.end_s, grid.tiers) == (2.3, {"Mary": ((0.0, 2.3, ""),)})


def test_point_tiers_are_passed_over():
    grid = parse_textgrid(long_text(2.1, {"phones": SEE_SUE}, points={"bell": 0.5}).encode())
    assert list(grid.tiers) == ["phones"]


@given(
    st.lists(st.text(max_size=8), min_size=1, max_size=5), st.sampled_from([long_text, short_text])
)
def test_any_label_survives(labels, write):
    labels = [label.replace("\r", " ").replace("\x00", " ") for label in labels]
    tier = [(float(n), float(n + 1), label) for n, label in enumerate(labels)]
    grid = parse_textgrid(write(len(labels), {"phones": tier}).encode("utf-8", "ignore"))
    kept = [label.encode("utf-8", "ignore").decode().strip() for label in labels]
    assert [interval.label for interval in grid.tiers["phones"]] == kept


GOOD = long_text(2.1, TIERS)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "ends too early"),
        (GOOD[: len(GOOD) // 2].encode(), "ends too early|instead of a"),
        (GOOD.replace("TextGrid", "PitchTier").encode(), "does not begin like"),
        (GOOD.replace("xmax = 0.55", "xmax = -0.55").encode(), "interval 2 of the tier 'phones'"),
        (GOOD.replace("xmin = 0.55", "xmin = 0.1").encode(), "interval 3 .* before ends at 0.55"),
        (GOOD.replace("xmax = 0.55", "xmax = 1e999").encode(), "infinite number"),
        (GOOD.replace("xmax = 0.55", 'xmax = "no"').encode(), "'no' instead of a number"),
        (GOOD.replace('name = "words"', 'name = "phones"').encode(), "two tiers 'phones'"),
        (GOOD.replace("IntervalTier", "Spectrum").encode(), "unknown kind 'Spectrum'"),
        (GOOD.replace("see", "s\u00e9e").encode("latin-1"), "neither UTF-8 nor UTF-16"),
        (b'"ooTextFile" "TextGrid" 0 1 <exists> 999999999999 ', "ends too early"),
        (b"\x00" * 9_000_000, "larger than 8 MiB"),
    ],
)
def test_a_damaged_file_is_refused_by_name(data, says):
    with pytest.raises(ValueError, match=says):
        parse_textgrid(data)


def test_the_phones_of_a_named_speaker_are_found_and_two_speakers_are_too_many():
    one = parse_textgrid(long_text(2.1, {"Anna - phones": SEE_SUE, "words": WORDS}).encode())
    assert phone_tier(one, "phones")[1].label == "S"
    two = parse_textgrid(long_text(2.1, {"A - phones": SEE_SUE, "B - phones": WORDS}).encode())
    with pytest.raises(ValueError, match="2 interval tiers 'phones'"):
        phone_tier(two, "phones")


# -- frames


def test_durations_follow_the_published_rule(tmp_path):
    # round(end · 16000 / 160) − round(start · 16000 / 160), worked by hand from SEE_SUE.
    rows = rows_for(make_textgrids(tmp_path, "film_0001"), clip={"clip_id": "film~0001"})
    assert named(rows) == [
        ("sil", 40), ("S", 15), ("IY", 25), ("sil", 50), ("S", 15), ("UW", 25), ("sil", 40),
    ]  # fmt: skip
    assert rows.dtype == np.int32


def test_another_clock_rounds_its_own_borders(tmp_path):
    # 22050 / 256 = 86.1328 frames per second: borders at 34.45, 47.37, 68.91, 111.97, 124.89,
    # 146.43 and T = 46305 // 256 = 180, so the first phone takes round(47.37) − round(34.45).
    rows = rows_for(make_textgrids(tmp_path, "film_0001"), clip={"clip_id": "film~0001"},
                    audio=CINEMA)  # fmt: skip
    assert named(rows) == [
        ("sil", 34), ("S", 13), ("IY", 22), ("sil", 43), ("S", 13), ("UW", 21), ("sil", 34),
    ]  # fmt: skip


@given(
    st.lists(st.tuples(st.floats(0, 0.3), st.floats(0, 0.5)), min_size=1, max_size=6),
    st.floats(0, 0.5),
    st.sampled_from([AUDIO, CINEMA]),
)
def test_rows_always_sum_to_the_frames_and_keep_every_phone(steps, tail, audio):
    clock, phones = 0.0, []
    for gap, length in steps:
        phones.append(TimedPhone(id_of("S"), clock + gap, clock + gap + length))
        clock += gap + length
    frames = int((clock + tail) * audio.sample_rate_hz) // audio.hop_samples
    rate = audio.sample_rate_hz / audio.hop_samples
    borders = [time_s * rate for phone in phones for time_s in (phone.start_s, phone.end_s)]
    assume(all(abs(border % 1 - 0.5) > 1e-6 for border in borders))  # ties are rounded by noise
    rows = rows_on_mel_clock(phones, audio, frames)
    assert rows[:, 1].sum() == frames
    assert (rows[:, 1] >= 0).all()
    assert (rows[:, 0] == id_of("S")).sum() == len(phones)
    assert (rows[rows[:, 0] == SIL, 1] > 0).all()
    found = rows[rows[:, 0] != SIL, 1]
    for phone, took in zip(phones, found, strict=True):
        if round(phone.end_s * rate) <= frames:
            assert took == round(phone.end_s * rate) - round(phone.start_s * rate)


@pytest.mark.parametrize("silent", ["", "sil", "SIL", "sp", "spn", "<eps>"])
def test_every_name_of_a_pause_is_one_pause(tmp_path, silent):
    phones = [
        (0.0, 0.2, silent), (0.2, 0.4, silent), *SEE_SUE[1:3], (0.8, 1.0, silent),
        (1.0, 1.3, "sp"), *SEE_SUE[4:6], (1.7, 2.1, silent),
    ]  # fmt: skip
    path = make_textgrids(tmp_path, "film_0001", phones=phones)
    assert [n for n, _ in named(rows_for(path, clip={"clip_id": "film~0001"}))] == [
        "sil", "S", "IY", "sil", "S", "UW", "sil",
    ]  # fmt: skip


# -- which file


def clip_of(**facts):
    return dataclasses.replace(media_of(text="x").clip, **{**CLIP, **facts})


@pytest.mark.parametrize(
    "name",
    [
        "Film~night-0003",
        "anywhere/Film~night-0003",
        "Film_night-0003",
        "night-0003",
        "Film/night-0003",
        "MFA/Anna/night-0003",
        "night",
        "Film/night",
    ],
)
def test_a_clips_file_is_found_by_each_of_its_names(name):
    others = ["Film~night-0004.TextGrid", "Film_night-0033.TextGrid", "knight.TextGrid"]
    assert file_of(clip_of(), [*others, f"{name}.TextGrid"]) == f"{name}.TextGrid"


def test_the_fuller_name_wins_and_other_clips_files_do_not_count():
    files = ["night.TextGrid", "night-0003.TextGrid", "Film~night-0003.TextGrid"]
    assert file_of(clip_of(), files) == "Film~night-0003.TextGrid"
    assert file_of(clip_of(), files[:2]) == "night-0003.TextGrid"
    assert file_of(clip_of(start_frame=50), files[:1]) is None  # a later line of the source
    assert file_of(clip_of(), ["NIGHT.TextGrid", "night.txt"]) is None


def test_among_files_of_one_name_the_one_in_the_films_folder_is_meant():
    files = ["Film/night-0003.TextGrid", "Other/night-0003.TextGrid"]
    assert file_of(clip_of(), files) == files[0]
    assert file_of(clip_of(), [f"MFA/{name}" for name in files]) == f"MFA/{files[0]}"
    with pytest.raises(FeatureAbsent, match="2 files are called night-0003") as refusal:
        file_of(clip_of(), ["A/night-0003.TextGrid", "B/night-0003.TextGrid"])
    assert refusal.value.code == "E-ALIGN-FILE"


# -- nulls with reasons


def refusal_of(path, **settings):
    with pytest.raises(FeatureAbsent) as refusal:
        rows_for(path, clip=CLIP, **settings)
    return refusal.value


def test_a_clip_without_a_file_is_a_null_that_says_so(tmp_path):
    refusal = refusal_of(make_textgrids(tmp_path, "Film/day-0001"))
    assert refusal.code == "E-ALIGN-NOFILE"
    assert "no Film~night-0003.TextGrid among the 1 files" in refusal.message


def test_a_damaged_file_is_a_null_of_its_clip_only(tmp_path):
    path = make_textgrids(tmp_path, "Film/night-0003", "Film/night-0004")
    (path / "Film/night-0003.TextGrid").write_text("nothing")
    refusal = refusal_of(path)
    assert (refusal.code, refusal.exit_code) == ("E-ALIGN-FILE", 3)
    other = {"clip_id": "Film~night-0004", "source": "Film/night.mp4", "start_frame": 60}
    assert len(rows_for(path, clip=other)) == 7


def test_the_alignment_of_another_cut_is_refused(tmp_path):
    path = make_textgrids(tmp_path, "Film/night-0003")
    assert (
        len(rows_for(path, clip=CLIP, seconds=2.04)) == 7
    )  # the grid of 1/25 s, or a codec's tail
    refusal = refusal_of(path, seconds=1.9)
    assert refusal.code == "E-ALIGN-FILE"
    assert "2.10 s long, the clip 1.90 s" in refusal.message


def test_other_phones_than_the_features_are_shown_at_the_first_place(tmp_path):
    phones = [*SEE_SUE[:2], (0.55, 0.8, "EY1"), *SEE_SUE[3:]]
    refusal = refusal_of(make_textgrids(tmp_path, "Film/night-0003", phones=phones))
    assert refusal.code == "E-ALIGN-DIFFERS"
    assert "has EY at 0.55 s as phone 2 of 4, the phonemes feature has IY" in refusal.message


def test_too_few_phones_are_refused_too(tmp_path):
    refusal = refusal_of(make_textgrids(tmp_path, "Film/night-0003", phones=SEE_SUE[:4]))
    assert refusal.code == "E-ALIGN-DIFFERS"
    assert "has 2 phones, the phonemes feature 4" in refusal.message


def test_the_pronunciation_of_the_aligner_can_be_kept(tmp_path):
    phones = [*SEE_SUE[:2], (0.55, 0.8, "EY1"), *SEE_SUE[3:]]
    path = make_textgrids(tmp_path, "Film/night-0003", phones=phones)
    rows = rows_for(path, clip=CLIP, variants="keep")
    assert named(rows)[2] == ("EY", 25)
    assert rows[:, 1].sum() == 210


def test_a_word_the_aligner_did_not_know_is_never_kept_as_a_pause(tmp_path):
    phones = [*SEE_SUE[:3], (0.8, 1.3, "spn"), *SEE_SUE[4:]]
    path = make_textgrids(tmp_path, "Film/night-0003", phones=phones)
    with pytest.raises(FeatureAbsent, match=r"'spn' at 0\.80 s may be a word"):
        rows_for(path, clip=CLIP, variants="keep")


@pytest.mark.parametrize(
    ("phones", "says"),
    [
        ([*SEE_SUE[:1], (0.4, 2.1, "iː")], "'iː' at 0.40 s is not an ARPAbet phone"),
        ([(0.0, 2.1, "sil")], "no phone, only pauses"),
    ],
)
def test_tiers_that_are_no_phones_of_ours_are_refused(tmp_path, phones, says):
    assert says in refusal_of(make_textgrids(tmp_path, "Film/night-0003", phones=phones)).message


def test_the_tiers_name_is_a_setting(tmp_path):
    path = make_textgrids(tmp_path, "Film/night-0003", tier="segments")
    assert "0 interval tiers 'phones' (found: words, segments)" in refusal_of(path).message
    assert len(rows_for(path, clip=CLIP, tier="segments")) == 7


def test_a_clip_without_sound_has_no_durations(tmp_path):
    path = make_textgrids(tmp_path, "Film/night-0003")
    config = TextGridConfig(audio=AUDIO)
    extractor = TextGridDurations(config, {"textgrids": folder_of(path, "textgrids")}, CPU)
    media = media_of(text="see sue", features={"phonemes": phoneme_ids("see sue")[:, None]})
    with pytest.raises(FeatureAbsent) as refusal:
        extractor.extract(media)
    assert refusal.value.code == "E-FEAT-NOSOUND"
    assert extractor.weights_wanted(config) == {"textgrids": ("textgrids", "textgrids")}
