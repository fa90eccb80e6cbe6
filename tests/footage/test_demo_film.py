"""The demo film on disk: whole, repeatable, resumable, and true to its own record."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import itertools
import json
import re

import av
import numpy as np
import pytest

from redub.core.errors import ConfigError, StorageError
from redub.footage.demo_film import FilmSpec, make_film
from redub.footage.demo_film.film import play_lines, spec_digest, subtitles_of
from redub.footage.demo_film.plan import plan_film
from redub.footage.demo_film.prosody import MANNERS

TINY = FilmSpec(scenes=2, lines_per_scene=2, width=128, height=128)


def make(folder, spec=TINY, **options):
    make_film(folder / "film", folder / "truth", spec, **options)
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make(tmp_path_factory.mktemp("tiny"))


def decoded(path):
    """SHA-256 of every decoded picture and sample, the pictures, and the samples."""
    digest = hashlib.sha256()
    with av.open(str(path)) as container:
        pictures = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    with av.open(str(path)) as container:
        sound = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    digest.update(np.stack(pictures).tobytes())
    digest.update(sound.tobytes())
    return digest.hexdigest(), pictures, sound


def truth_of(folder, number=1):
    return json.loads((folder / "truth" / f"scene_{number:02d}.json").read_text())


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def stamps(folder):
    return {p.name: p.stat().st_mtime_ns for part in ("film", "truth")
            for p in (folder / part).iterdir()}  # fmt: skip


def test_the_folder_holds_what_is_promised(tiny):
    assert names_in(tiny / "film") == [
        "cast.csv", "emotions.csv", "scene_01.mp4", "scene_01.srt", "scene_02.mp4",
        "scene_02.srt", "splits.csv",
    ]  # fmt: skip
    assert names_in(tiny / "truth") == ["film.json", "scene_01.json", "scene_02.json"]


def test_workers_and_repeats_do_not_change_a_picture_or_a_sample(tiny, tmp_path):
    make(tmp_path / "pool", workers=2)
    for number in (1, 2):
        name = f"film/scene_{number:02d}.mp4"
        assert decoded(tiny / name)[0] == decoded(tmp_path / "pool" / name)[0]
        assert truth_of(tiny, number) == truth_of(tmp_path / "pool", number)
    for table in ("cast.csv", "emotions.csv", "splits.csv", "scene_01.srt"):
        one, two = tiny / "film" / table, tmp_path / "pool" / "film" / table
        assert one.read_bytes() == two.read_bytes()


def test_a_second_call_touches_nothing(tiny):
    before = stamps(tiny)
    seen = []
    make(tiny, progress=lambda done, total: seen.append((done, total)))
    assert stamps(tiny) == before
    assert seen == [(2, 2)]


@pytest.mark.parametrize("lost", ["film/scene_02.mp4", "film/scene_02.srt", "truth/scene_02.json"])
def test_only_what_is_missing_is_made_again(tmp_path, tiny, lost):
    for part in ("film", "truth"):
        (tmp_path / part).mkdir()
        for path in (tiny / part).iterdir():
            (tmp_path / part / path.name).write_bytes(path.read_bytes())
    (tmp_path / lost).unlink()
    (tmp_path / "film" / ".tmp-scene_02.mp4").write_bytes(b"a killed call's rest")
    before = stamps(tmp_path)
    seen = []
    make(tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
    after = stamps(tmp_path)
    assert not [name for name in after if name.startswith(".tmp-")]
    assert after["scene_01.mp4"] == before["scene_01.mp4"]
    assert decoded(tmp_path / "film/scene_02.mp4")[0] == decoded(tiny / "film/scene_02.mp4")[0]


def test_another_spec_replaces_the_film_and_spares_foreign_files(tmp_path):
    make(tmp_path, FilmSpec(scenes=2, lines_per_scene=1, width=64, height=64))
    old = truth_of(tmp_path)
    (tmp_path / "film" / "scene_77.mp4").write_bytes(b"mine")
    make(tmp_path, FilmSpec(scenes=1, lines_per_scene=1, width=64, height=64, seed=9))
    assert truth_of(tmp_path)["digest"] != old["digest"]
    assert "scene_02.mp4" not in names_in(tmp_path / "film")
    assert (tmp_path / "film" / "scene_77.mp4").read_bytes() == b"mine"
    table = (tmp_path / "film" / "splits.csv").read_text()
    assert table == "source,split\nscene_01.mp4,train\n"


def test_every_setting_changes_the_digest():
    changed = [
        FilmSpec(seed=8), FilmSpec(scenes=25), FilmSpec(width=320), FilmSpec(scene_cue=0.6),
        FilmSpec(context_after=0.2), FilmSpec(noise=0.5), FilmSpec(lines_per_scene=13),
    ]  # fmt: skip
    assert len({spec_digest(spec) for spec in [FilmSpec(), *changed]}) == len(changed) + 1


def test_tables_have_the_documented_columns_and_agree_with_the_plan(tiny):
    plan = plan_film(TINY)
    tables = {}
    for name in ("cast", "emotions", "splits"):
        with (tiny / "film" / f"{name}.csv").open(newline="") as handle:
            tables[name] = list(csv.DictReader(handle))
    assert list(tables["cast"][0]) == ["name", "rights", "note"]
    assert {row["name"] for row in tables["cast"]} == {
        line.speaker for scene in plan for line in scene.lines
    }
    assert all(row["rights"] for row in tables["cast"])
    assert tables["emotions"] == [
        {"source": f"{scene.name}.mp4", "line": str(number), "emotion": line.emotion}
        for scene in plan
        for number, line in enumerate(scene.lines, start=1)
    ]
    assert tables["splits"] == [
        {"source": f"{scene.name}.mp4", "split": scene.split} for scene in plan
    ]


CUE = re.compile(
    r"(\d+)\n(\d\d):(\d\d):(\d\d),(\d{3}) --> (\d\d):(\d\d):(\d\d),(\d{3})\n([A-Z]+): (.+)\n"
)


def test_subtitles_lie_on_the_picture_grid_with_gaps_between(tiny):
    for number in (1, 2):
        text = (tiny / "film" / f"scene_{number:02d}.srt").read_text()
        truth = truth_of(tiny, number)
        cues = CUE.findall(text)
        assert len(cues) == 2
        ends = []
        for cue, line in zip(cues, truth["lines"], strict=True):
            h1, m1, s1, ms1, h2, m2, s2, ms2 = map(int, cue[1:9])
            start, end = (
                ((h1 * 60 + m1) * 60 + s1) * 1000 + ms1,
                ((h2 * 60 + m2) * 60 + s2) * 1000 + ms2,
            )
            assert (start % 40, end % 40) == (0, 0)
            assert (start, end) == (line["start_frame"] * 40, line["end_frame"] * 40)
            assert cue[9] == line["speaker"]
            assert cue[10].rstrip(".").lower() == line["text"].lower()
            ends.append((start, end))
        gaps = [b[0] - a[1] for a, b in itertools.pairwise(ends)]
        assert all(300 <= gap <= 500 for gap in gaps)


def test_a_film_of_an_hour_still_has_good_timestamps():
    spec = FilmSpec(scenes=1, lines_per_scene=1)
    take = play_lines(spec, plan_film(spec)[0])[0]
    late = dataclasses.replace(take, first=25 * 3661, last=25 * 3661 + 1)
    assert "01:01:01,000 --> 01:01:01,040" in subtitles_of([late])


def test_the_speaker_is_on_screen_during_the_line_and_the_cut_lies_in_the_gap(tiny):
    for number in (1, 2):
        truth = truth_of(tiny, number)
        _, pictures, _ = decoded(tiny / "film" / f"scene_{number:02d}.mp4")
        assert len(pictures) == truth["frames"] == sum(len(x["faces"]) for x in truth["lines"])
        one, two = truth["lines"]
        cut = one["shot"][1]
        assert one["shot"][0] == 0
        assert one["end_frame"] < cut == two["shot"][0] < two["start_frame"]
        jumps = [np.abs(a.astype(int) - b).mean() for a, b in itertools.pairwise(pictures)]
        assert int(np.argmax(jumps)) + 1 == cut


def test_the_sound_is_where_the_truth_says(tiny):
    truth = truth_of(tiny)
    sound = decoded(tiny / "film" / "scene_01.mp4")[2]
    pause = sound[: truth["lines"][0]["start_frame"] * 640]
    for line in truth["lines"]:
        start = line["start_frame"] * 640
        assert line["phones"][-1][2] == (line["end_frame"] - line["start_frame"]) * 640
        for symbol, first, last, _, _ in line["phones"]:
            inside = sound[start + first + 160 : start + last - 160]
            if symbol in ("AA", "AE", "AO", "AY", "EY", "IY", "OW"):
                assert np.sqrt(np.mean(inside**2)) > 20 * np.sqrt(np.mean(pause**2)), symbol
    assert np.sqrt(np.mean(pause**2)) > 0  # no recording is digitally silent


def test_the_true_pitch_is_the_measured_pitch(tiny):
    sound = decoded(tiny / "film" / "scene_01.mp4")[2].astype(np.float64)
    compared = 0
    for line in truth_of(tiny)["lines"]:
        f0_hz = np.array(line["f0_hz"])
        assert len(f0_hz) == (line["end_frame"] - line["start_frame"]) * 4
        for symbol, first, last, _, accented in line["phones"]:
            if not accented or last - first < 1600:
                continue
            planned = f0_hz[first // 160 + 1 : last // 160 - 1]
            middle = line["start_frame"] * 640 + (first + last) // 2
            piece = sound[middle - 640 : middle + 640] * np.hanning(1280)
            correlation = np.correlate(piece, piece, "full")[1279:]
            at = planned[len(planned) // 2]
            lags = np.arange(int(16_000 / at / 1.3), int(16_000 / at * 1.3))
            measured = 16_000 / lags[correlation[lags].argmax()]
            assert measured == pytest.approx(at, rel=0.06), symbol
            compared += 1
    assert compared >= 3


def test_truth_separates_the_noise_from_the_plan(tmp_path):
    spec = FilmSpec(scenes=1, lines_per_scene=3, width=64, height=64, noise=0.0)
    lines = truth_of(make(tmp_path, spec))["lines"]
    for line in lines:
        assert line["prosody"] == pytest.approx(line["prosody_without_noise"], abs=1e-4)
    one, two, three = (MANNERS[line["emotion"]].level_st for line in lines)
    # level has no speaker habit: P(e) + .3 (P(previous) - 0) + .3 (P(following) - 0)
    wanted = min(max(two + 0.3 * one + 0.3 * three, -8), 11)
    assert lines[1]["prosody"]["level_st"] == pytest.approx(wanted, abs=1e-4)


def test_noted_lips_shut_on_bilabials_in_the_film(tiny):
    seen = 0
    for line in truth_of(tiny)["lines"]:
        offset = line["start_frame"] - line["shot"][0]
        for symbol, first, last, _, _ in line["phones"]:
            if symbol in ("M", "B", "P"):
                row = offset + (first + last) // 2 // 640
                faces = line["faces"][max(row - 1, 0) : row + 2]
                shut = [face for face in faces if face["shut"]]
                assert shut
                assert all(face["mouth"][0] == 0 for face in shut)
                seen += 1
    assert seen


def test_noted_boxes_hold_the_noted_landmarks(tiny):
    for line in truth_of(tiny)["lines"]:
        for face in line["faces"]:
            x, y, width, height = face["box"]
            for mark_x, mark_y in face["landmarks"]:
                assert x - 1 <= mark_x <= x + width + 1
                assert y - 1 <= mark_y <= y + height + 1


def test_the_truth_must_not_lie_among_the_footage(tmp_path):
    with pytest.raises(ConfigError, match="outside"):
        make_film(tmp_path / "film", tmp_path / "film" / "truth", TINY)


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        make_film(tmp_path / "file" / "film", tmp_path / "truth", TINY)


def test_a_target_that_is_a_link_stops_the_film(tmp_path):
    (tmp_path / "film").mkdir()
    (tmp_path / "elsewhere").write_bytes(b"precious")
    (tmp_path / "film" / "scene_01.mp4").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="E-STORE-TARGET"):
        make(tmp_path, FilmSpec(scenes=1, lines_per_scene=1, width=64, height=64))
    assert (tmp_path / "elsewhere").read_bytes() == b"precious"
