"""Every kind of leak, planted in a small spoken project, and a clean one that has none."""

import dataclasses
import json
import shutil
from collections import Counter
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import skew

from redub.core.errors import ConfigError, IntegrityError
from redub.core.types import Waveform
from redub.footage.demo_film import prosody as manner
from redub.footage.demo_film.cast import CAST
from redub.footage.demo_film.lexicon import phones_of
from redub.footage.demo_film.timing import schedule
from redub.footage.demo_film.voice import synthesise
from redub.footage.encode import write_clip
from redub.pipeline.reports.index.audit import audit_index, plain_words, word_count
from redub.pipeline.reports.index.stats import index_stats, skewness
from redub.pipeline.reports.index.verify import verify_index
from redub.pipeline.stages.extract import extract
from redub.pipeline.stages.index import build_index
from redub.pipeline.stages.ingest import ingest
from redub.pipeline.stages.retrieve import retrieve
from redub.pipeline.store.index.build_record import current_build
from redub.pipeline.store.index.builds import open_index
from redub.pipeline.store.index.neighbours import neighbour_parts
from redub.pipeline.store.project import open_project
from redub.pipeline.store.schemas import NEIGHBOUR_SCHEMA
from redub.pipeline.store.tables import Store
from redub.pipeline.work.executor import Scheduler
from tests.pipeline.films import RATE, pictures, stamp

SYNC = Scheduler("sync", 1)
FEATURES = ["mel", "scene_emotion", "face_emotion", "text_emotion", "audio_emotion"]
KINDS = {
    "self_hit",
    "same_scene",
    "near_duplicate_audio",
    "duplicate_text",
    "held_out_in_library",
    "stale_neighbours",
}
PICTURE = RATE // 25


class Said(NamedTuple):
    speaker: str
    text: str
    emotion: str


# No line is said twice; the last two scenes are held out.
FILM = {
    "scene_0": (
        Said("OSCAR", "the captain moved a letter in the garden", "happy"),
        Said("RUBY", "my brother will open the window tomorrow", "sad"),
        Said("OSCAR", "we found the brown lantern by the door", "angry"),
    ),
    "scene_1": (
        Said("MILO", "your sister lost the key in the office", "neutral"),
        Said("RUBY", "the baker is on the boat with a box", "happy"),
        Said("MILO", "do not open the heavy bottle at noon", "fear"),
    ),
    "scene_2": (
        Said("OSCAR", "the farmer repaired a clock and a bell", "sad"),
        Said("DAISY", "there is a blanket on that chair", "happy"),
        Said("DAISY", "the queen remembers the yellow picture", "angry"),
    ),
    "scene_3": (
        Said("RUBY", "the rope is under the round wagon", "sad"),
        Said("MILO", "the teacher borrowed your coat", "angry"),
        Said("DAISY", "they placed a candle near the mirror", "neutral"),
    ),
    "scene_4": (
        Said("OSCAR", "the king destroyed my saddle", "neutral"),
        Said("RUBY", "a hammer is behind the basket", "fear"),
    ),
    "scene_5": (
        Said("RUBY", "the sailor opened a second book today", "sad"),
        Said("OSCAR", "that lamp smells terrible after dinner", "happy"),
    ),
}
SPLITS = {"scene_4": "validation", "scene_5": "test"}


def spoken(line, seed):
    """(S,) samples of a line by one of the demo film's voices; another seed is another take."""
    actor = next(actor for actor in CAST if actor.name == line.speaker)
    rng = np.random.default_rng([seed, *line.text.encode(), *line.emotion.encode()])
    played = manner.noisy(manner.MANNERS[line.emotion], rng)
    segments = schedule(
        phones_of(line.text), rate=actor.voice.tempo * 2**played.rate, evenness=played.evenness
    )
    f0_hz = manner.pitch_curve(segments, played, actor.voice, rng)
    return synthesise(segments, f0_hz, actor.voice, manner.style_of(played), rng).samples


def takes_of(lines, seed=0):
    return [spoken(line, seed) for line in lines]


def add_scene(footage, name, lines, takes, *, hue=0, noise_seed=0):
    """``name.mp4`` with the takes one after the other and its ``name.srt``."""
    gap = 10 * PICTURE
    parts, cues, clock = [], [], 0
    for number, (line, take) in enumerate(zip(lines, takes, strict=True), start=1):
        take = np.pad(take, (0, -len(take) % PICTURE))
        clock += gap
        start, end = Fraction(clock, RATE), Fraction(clock + len(take), RATE)
        words = f"{line.speaker}: {line.text}"
        cues.append(f"{number}\n{stamp(start)} --> {stamp(end)}\n{words}\n")
        parts += [np.zeros(gap, np.float32), take]
        clock += len(take)
    sound = np.concatenate([*parts, np.zeros(gap, np.float32)])
    room = np.random.default_rng([noise_seed, *name.encode()]).normal(0, 2e-4, len(sound))
    path = footage / f"{name}.mp4"
    shots = pictures(len(sound) // PICTURE, hue=hue)
    write_clip(path, shots, 25, Waveform((sound + room).astype(np.float32), RATE))
    path.with_suffix(".srt").write_text("\n".join(cues), encoding="utf-8")


def write_tables(footage, film, splits):
    emotions = [
        f"{name}.mp4,{number},{line.emotion}"
        for name, lines in film.items()
        for number, line in enumerate(lines, start=1)
    ]
    (footage / "emotions.csv").write_text("\n".join(["source,line,emotion", *emotions]) + "\n")
    rows = [f"{name}.mp4,{splits.get(name, 'train')}" for name in film]
    (footage / "splits.csv").write_text("\n".join(["source,split", *rows]) + "\n")


def add_to_film(project, name, lines, takes, split):
    """One more scene, and tables that know it."""
    footage = project.footage_root
    add_scene(footage, name, lines, takes, hue=150, noise_seed=1)
    write_tables(footage, {**FILM, name: lines}, {**SPLITS, name: split})


def refresh(project):
    project = open_project(project.root)
    ingest(project, scheduler=SYNC)
    extract(project, scheduler=SYNC, features=FEATURES)
    build_index(project)
    retrieve(project)
    return project


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """Four training scenes, one of validation, one of test; nothing leaks."""
    root = tmp_path_factory.mktemp("audit") / "project"
    footage = root / "footage"
    footage.mkdir(parents=True)
    for number, (name, lines) in enumerate(FILM.items()):
        add_scene(footage, name, lines, takes_of(lines), hue=30 * number)
    write_tables(footage, FILM, SPLITS)
    toml = 'name = "audit"\n[index]\nexclude_same_scene = true\n'
    (root / "redub.toml").write_text(toml, encoding="utf-8")
    return refresh(open_project(root))


@pytest.fixture
def project(clean, tmp_path):
    root = tmp_path / "project"
    shutil.copytree(clean.root, root)
    return open_project(root)


def plant(project, change):
    """Let ``change`` edit the stored neighbour rows, and commit them as if they had been found."""
    store, index = Store(project), open_index(project)
    table = neighbour_parts(store, index)
    part = table.parts()[-1]
    rows = table.read_one(part, None).to_pylist()
    change(rows)
    edited = pa.Table.from_pylist(rows, schema=NEIGHBOUR_SCHEMA)
    table.commit([table.write_part(part.name, edited, shard=part.shard)])


def first_hit(rows, clip_id, modality="scene"):
    return next(
        r for r in rows if (r["clip_id"], r["modality"], r["rank"]) == (clip_id, modality, 0)
    )


def kind_of(report, kind):
    return next(own for own in report.kinds if own.kind == kind)


def of_kind(report, kind):
    return [finding for finding in report.findings if finding.kind == kind]


def plain(report):
    """What ``--json`` writes; NaN would not be JSON."""
    return json.loads(json.dumps(dataclasses.asdict(report), allow_nan=False))


# -- a clean set


def test_a_clean_set_has_no_finding_of_any_kind(clean):
    report = audit_index(clean)
    assert report.findings == ()
    assert report.leaks == 0
    assert {own.kind for own in report.kinds} == KINDS
    assert all(own.effects == () for own in report.kinds)
    assert report.not_looked_at == ()
    assert (report.clips, report.library, report.is_fresh) == (16, 12, True)
    # Scene and text; the drawn film has no face. Three neighbours of each of 16 clips.
    assert report.stored_hits == 2 * 16 * 3
    assert report.lines()[-1] == "no leaks"
    assert plain(report)["leaks"] == 0


def test_without_an_index_the_stage_is_named(clean, tmp_path):
    root = tmp_path / "bare"
    shutil.copytree(clean.root, root)
    shutil.rmtree(root / "index")
    for ask in (audit_index, index_stats):
        with pytest.raises(ConfigError, match="redub index build"):
            ask(open_project(root))


# -- hits


def test_a_clip_that_retrieved_itself_is_found_and_measured(project):
    query = "scene_0-0001"
    before = {}

    def change(rows):
        before.update({r["rank"]: r["hit"] for r in rows if is_scene_row(r, query)})
        first_hit(rows, query)["hit"] = query

    plant(project, change)
    report = audit_index(project)
    [finding] = report.findings
    assert (finding.kind, finding.severity) == ("self_hit", "leak")
    assert (finding.clip_id, finding.other, finding.modality) == (query, query, "scene")
    assert report.leaks == 1
    [effect] = kind_of(report, "self_hit").effects
    emotion = {clip.clip_id: clip.emotion for clip in Store(project).clips()}
    same = [emotion[before[rank]] == emotion[query] for rank in range(3)]
    # Taken out again, the best allowed clip comes back: what had stood there.
    assert (effect.without.hits, effect.without.of) == (sum(same), 3)
    assert (effect.precision.hits, effect.precision.of) == (1 + sum(same[1:]), 3)
    assert effect.overall.of == effect.overall_without.of == 16 * 3
    gained = effect.precision.hits - effect.without.hits
    assert effect.overall.hits - effect.overall_without.hits == gained
    assert (effect.hits, effect.stored, effect.queries) == (1, 48, 1)
    assert plain(report)["findings"][0]["clip_id"] == query
    assert "scene_0-0001 ← scene_0-0001 [scene]" in "\n".join(report.lines())


def is_scene_row(row, clip_id):
    return row["clip_id"] == clip_id and row["modality"] == "scene"


def test_a_hit_in_a_copy_of_the_same_file_is_a_self_hit(project):
    footage = project.footage_root
    for suffix in (".mp4", ".srt"):
        shutil.copy(footage / f"scene_0{suffix}", footage / f"twin{suffix}")
    write_tables(footage, {**FILM, "twin": FILM["scene_0"]}, SPLITS)
    project = refresh(project)
    assert of_kind(audit_index(project), "self_hit") == []  # the policy keeps twins apart

    def change(rows):
        first_hit(rows, "scene_0-0002", "text")["hit"] = "twin-0002"

    plant(project, change)
    [finding] = of_kind(audit_index(project), "self_hit")
    assert (finding.clip_id, finding.other) == ("scene_0-0002", "twin-0002")
    assert "same seconds of the same file" in finding.detail


def test_a_hit_in_the_querys_own_scene_is_a_leak_where_the_policy_excludes_it(project):
    def change(rows):
        first_hit(rows, "scene_1-0001")["hit"] = "scene_1-0003"

    plant(project, change)
    report = audit_index(project)
    [finding] = report.findings
    assert (finding.kind, finding.severity) == ("same_scene", "leak")
    assert (finding.clip_id, finding.other) == ("scene_1-0001", "scene_1-0003")
    assert "2 lines away" in finding.detail
    assert report.leaks == 1


def test_where_scenes_may_answer_their_share_and_effect_are_measured(project):
    (project.root / "redub.toml").write_text('name = "audit"\n', encoding="utf-8")
    project = refresh(project)
    report = audit_index(project)
    own = kind_of(report, "same_scene")
    assert (report.leaks, own.leaks, own.notes) == (0, 0, 0)
    rows = stored(project)
    scene_of = {clip.clip_id: clip.scene for clip in Store(project).clips()}
    flagged = [r for r in rows if scene_of[r["clip_id"]] == scene_of[r["hit"]]]
    assert flagged
    assert own.says[0].startswith(f"{len(flagged)} of {len(rows)} stored hits")
    assert "for information" in own.says[1]
    for effect in own.effects:
        mine = [r for r in flagged if r["modality"] == effect.modality]
        assert effect.hits == len(mine)
        asked = sorted({r["clip_id"] for r in mine})
        assert effect.queries == effect.measured == len(asked)
        kept = [r for r in rows if r["modality"] == effect.modality and r["clip_id"] in asked]
        emotion = {clip.clip_id: clip.emotion for clip in Store(project).clips()}
        shared = sum(emotion[r["clip_id"]] == emotion[r["hit"]] for r in kept)
        assert (effect.precision.hits, effect.precision.of) == (shared, len(kept))
        expected = sum(
            emotion[query] == emotion[hit]
            for query in asked
            for hit in best_of_other_scenes(project, effect.modality, query)
        )
        assert (effect.without.hits, effect.without.of) == (expected, 3 * len(asked))


def stored(project):
    store = Store(project)
    return neighbour_parts(store, open_index(project)).read().to_pylist()


def best_of_other_scenes(project, modality, query):
    """The three best training clips of other scenes, by the plain definition of the score."""
    store = Store(project)
    clips = {clip.clip_id: clip for clip in store.clips()}
    values = store.read(f"{modality}_emotion")
    scores = []
    for other, clip in clips.items():
        if clip.split == "train" and clip.scene != clips[query].scene and other in values:
            halves = zip(
                np.split(np.asarray(values[query], float), 2 if modality == "text" else 1),
                np.split(np.asarray(values[other], float), 2 if modality == "text" else 1),
                strict=True,
            )
            cosines = [a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) for a, b in halves]
            scores.append((-np.float32(np.mean(cosines)), other))
    return [other for _, other in sorted(scores)[:3]]


# -- the same sound, the same words


def worse_copy(take, seed):
    """The same recording trimmed by 0.2 s, half as loud, with noise 25 dB below it."""
    kept = take[round(0.2 * RATE) + 31 :]
    noise = np.random.default_rng(seed).normal(0, 1, len(kept))
    noise *= np.sqrt((kept**2).mean()) / 10 ** (25 / 20)
    return (0.5 * (kept + noise)).astype(np.float32)


def test_a_worse_copy_of_a_training_recording_in_the_test_set_is_a_leak(project):
    takes = [worse_copy(take, seed) for seed, take in enumerate(takes_of(FILM["scene_1"]))]
    others = (
        "one bell is beside the boat",
        "please repair the box after lunch",
        "the paper is on the large table",
    )
    lines = tuple(
        line._replace(text=text) for line, text in zip(FILM["scene_1"], others, strict=True)
    )
    add_to_film(project, "copy", lines, takes, "test")
    report = audit_index(refresh(project))
    found = of_kind(report, "near_duplicate_audio")
    assert {(f.clip_id, f.other) for f in found} == {
        (f"copy-000{n}", f"scene_1-000{n}") for n in (1, 2, 3)
    }
    assert {f.severity for f in found} == {"leak"}
    assert of_kind(report, "duplicate_text") == []
    assert report.leaks == 3
    says = " ".join(kind_of(report, "near_duplicate_audio").says)
    assert "the sound of 3 of 7 held-out lines is in the training split" in says
    rows = stored(project)
    own = {r["clip_id"] for r in rows if r["hit"] == r["clip_id"].replace("copy", "scene_1")}
    own &= {f.clip_id for f in found}
    assert f"{len(own)} of 7 held-out" in says
    effects = kind_of(report, "near_duplicate_audio").effects
    assert sum(e.hits for e in effects if e.queries) >= len(own)


def test_the_same_words_by_the_same_voice_in_another_mood_are_no_duplicate_sound(project):
    lines = tuple(line._replace(emotion="surprise") for line in FILM["scene_0"])
    add_to_film(project, "again", lines, takes_of(lines, seed=5), "test")
    report = audit_index(refresh(project))
    assert of_kind(report, "near_duplicate_audio") == []
    assert {(f.clip_id, f.other, f.severity) for f in of_kind(report, "duplicate_text")} == {
        (f"again-000{n}", f"scene_0-000{n}", "leak") for n in (1, 2, 3)
    }


def test_the_same_recording_in_two_files_of_the_library_is_a_note(project):
    takes = [worse_copy(take, seed) for seed, take in enumerate(takes_of(FILM["scene_2"]))]
    add_to_film(project, "reprise", FILM["scene_2"], takes, "train")
    report = audit_index(refresh(project))
    found = of_kind(report, "near_duplicate_audio")
    assert {frozenset((f.clip_id, f.other)) for f in found} == {
        frozenset((f"reprise-000{n}", f"scene_2-000{n}")) for n in (1, 2, 3)
    }
    assert {f.severity for f in found} == {"note"}
    assert report.leaks == 0


def test_validation_and_test_with_one_recording_are_a_warning(project):
    takes = [worse_copy(take, seed) for seed, take in enumerate(takes_of(FILM["scene_4"]))]
    lines = (
        Said("OSCAR", "a ribbon is under the pillow", "neutral"),
        Said("RUBY", "the hunter lost the empty barrel", "sad"),
    )
    add_to_film(project, "copy", lines, takes, "test")
    report = audit_index(refresh(project))
    found = of_kind(report, "near_duplicate_audio")
    assert {(f.clip_id, f.other, f.severity) for f in found} == {
        (f"scene_4-000{n}", f"copy-000{n}", "warning") for n in (1, 2)
    } or {(f.clip_id, f.other, f.severity) for f in found} == {
        (f"copy-000{n}", f"scene_4-000{n}", "warning") for n in (1, 2)
    }
    assert report.leaks == 0


def test_words_are_compared_without_case_punctuation_and_spaces(project):
    footage = project.footage_root
    path = footage / "scene_5.srt"
    text = path.read_text()
    path.write_text(
        text.replace(
            FILM["scene_5"][0].text, "My   brother, will OPEN the window -- tomorrow!"
        ).replace(FILM["scene_5"][1].text, "Yes.")
    )
    train = footage / "scene_3.srt"
    train.write_text(train.read_text().replace(FILM["scene_3"][0].text, "yes"))
    report = audit_index(refresh(project))
    [finding] = report.findings
    assert (finding.kind, finding.severity) == ("duplicate_text", "leak")
    assert (finding.clip_id, finding.other) == ("scene_5-0001", "scene_0-0002")
    says = kind_of(report, "duplicate_text").says
    assert says[0].startswith("1 of 4 held-out lines have the words of a training line; 1 more")
    assert says[1].startswith("word errors and durations of 25.0%")


def test_three_or_four_common_words_are_a_warning(project):
    footage = project.footage_root
    for name, line in (("scene_5", 0), ("scene_3", 1)):
        path = footage / f"{name}.srt"
        path.write_text(path.read_text().replace(FILM[name][line].text, "I don't know."))
    report = audit_index(refresh(project))
    [finding] = report.findings
    assert (finding.kind, finding.severity) == ("duplicate_text", "warning")
    assert "another speaker" in finding.detail
    assert report.leaks == 0


@pytest.mark.parametrize(
    ("text", "words", "count"),
    [
        ("Don't GO — there!", "dont go there", 3),
        ("  \n", "", 0),
        ("...", "", 0),
        ("Ünï  CODE", "ünï code", 2),
        ("ﬁve 5", "five 5", 2),
        ("你好，世界", "你好 世界", 2),
        ("我不知道他在哪里", "我不知道他在哪里", 4),
    ],
)
def test_plain_words_and_their_number(text, words, count):
    assert plain_words(text) == words
    assert word_count(words) == count


# -- the library and what was stored


def test_a_training_clip_that_becomes_a_test_clip_is_found_in_the_old_library(project):
    write_tables(project.footage_root, FILM, {**SPLITS, "scene_2": "test"})
    ingest(project, scheduler=SYNC)
    report = audit_index(project)
    assert not report.is_fresh
    found = of_kind(report, "held_out_in_library")
    assert {f.clip_id for f in found} == {f"scene_2-000{n}" for n in (1, 2, 3)}
    assert report.leaks == len(found) == len(report.findings)
    handed = [r for r in neighbour_rows_of(project) if r["hit"].startswith("scene_2")]
    says = kind_of(report, "held_out_in_library").says
    assert f"{len(handed)} of 96 stored hits are such clips" in says[0]
    assert says[1].endswith("scene 3 of 3, text 3 of 3")
    for effect in kind_of(report, "held_out_in_library").effects:
        assert effect.hits == sum(r["modality"] == effect.modality for r in handed)
    assert verify_index(project).exit_code == 0  # stale is not damaged
    assert "out of date" in " ".join(verify_index(project).lines())
    assert index_stats(project).library_by["split"] == {"train": 9, "test": 3}
    refreshed = refresh(project)
    assert audit_index(refreshed).leaks == 0


def neighbour_rows_of(project):
    """All stored rows, also of a build that is out of date: there is one table only."""
    [folder] = (project.root / "neighbours").iterdir()
    [part] = folder.glob("part-*.parquet")
    return pa.parquet.read_table(part).to_pylist()


def test_stored_neighbours_of_clips_that_are_gone_are_a_warning(project):
    gone = "scene_3"
    for suffix in (".mp4", ".srt"):
        (project.footage_root / f"{gone}{suffix}").unlink()
    write_tables(project.footage_root, {n: x for n, x in FILM.items() if n != gone}, SPLITS)
    ingest(project, scheduler=SYNC)
    report = audit_index(project)
    found = of_kind(report, "stale_neighbours")
    assert {f.clip_id for f in found} == {f"scene_3-000{n}" for n in (1, 2, 3)}
    assert {f.severity for f in found} == {"warning"}
    assert report.leaks == 0
    assert report.findings == tuple(found)
    rows = neighbour_rows_of(project)
    touched = [r for r in rows if gone in r["clip_id"] + r["hit"]]
    says = " ".join(kind_of(report, "stale_neighbours").says)
    assert f"{len(touched)} of {len(rows)} stored hits" in says


def test_vectors_of_another_extractor_are_not_searched_with(project):
    query = "scene_0-0001"

    def change(rows):
        for modality in ("scene", "text"):
            first_hit(rows, query, modality)["hit"] = query

    plant(project, change)
    config = project.root / "redub.toml"
    config.write_text(config.read_text() + "[features.scene_emotion]\nword_weight = 0.5\n")
    report = audit_index(open_project(project.root))
    assert not report.is_fresh
    assert len(of_kind(report, "self_hit")) == 2
    scene, text = kind_of(report, "self_hit").effects
    assert (scene.measured, scene.without, text.measured) == (0, None, 1)
    assert "not measured" in scene.line(3)
    assert report.not_looked_at == ("effects in scene: scene_emotion changed since the build",)
    assert index_stats(open_project(project.root)).modalities[0].rows == 12


def test_a_large_effect_is_measured_on_a_sample(project, monkeypatch):
    (project.root / "redub.toml").write_text('name = "audit"\n', encoding="utf-8")
    project = refresh(project)
    whole = kind_of(audit_index(project), "same_scene").effects[0]
    monkeypatch.setattr("redub.pipeline.reports.index.audit_effects.MEASURED_QUERIES", 3)
    some = kind_of(audit_index(project), "same_scene").effects[0]
    assert (some.hits, some.queries) == (whole.hits, whole.queries)
    assert (some.measured, some.precision.of) == (3, 9)
    assert some.overall == whole.overall
    assert some.overall_without is None
    assert "of all queries" not in some.line(3)


def test_what_was_not_looked_at_is_said(project):
    shutil.rmtree(project.root / "neighbours")
    shutil.rmtree(project.root / "features" / "mel")
    report = audit_index(project)
    assert report.stored_hits == 0
    assert len(report.not_looked_at) == 2
    assert "redub retrieve" in report.not_looked_at[0]
    assert "near-duplicate audio of 16 clips" in report.not_looked_at[1]


def test_an_audit_changes_nothing_and_opens_no_media(project):
    from tests.pipeline.films import tree_digest

    before = tree_digest(project.root)
    shutil.rmtree(project.footage_root)
    assert audit_index(project).leaks == 0
    assert index_stats(project).library == 12
    assert verify_index(project).exit_code == 0
    assert tree_digest(project.root) == before


# -- figures


def test_the_figures_are_those_of_the_clips_and_the_stored_rows(clean):
    stats = index_stats(clean)
    clips = [clip for clip in Store(clean).clips() if clip.split == "train"]
    for name in ("film", "speaker", "emotion", "split"):
        assert stats.library_by[name] == Counter(getattr(clip, name) for clip in clips)
    assert (stats.library, stats.builds, stats.is_fresh) == (12, 1, True)
    assert stats.audio_transform == "speaker_zscore"
    rows = stored(clean)
    by_name = {own.modality: own for own in stats.modalities}
    assert by_name["face"].rows == 0
    assert by_name["face"].hits is None
    for modality in ("scene", "text"):
        own = by_name[modality]
        assert (own.rows, own.metric, own.halves) == (
            12,
            "dot" if modality == "text" else "cosine",
            modality == "text",
        )
        [segment] = own.segments
        assert (segment.rows, segment.live, segment.backend) == (12, 12, "exact")
        assert segment.graph is None
        folder = clean.root / "index" / segment.name
        assert own.size_bytes == sum(path.stat().st_size for path in folder.iterdir())
        mine = [r for r in rows if r["modality"] == modality]
        times = Counter(r["hit"] for r in mine)
        assert own.hits.most_times == max(times.values())
        assert times[own.hits.most_retrieved] == own.hits.most_times
        assert own.hits.never == 12 - len(times)
        assert (own.hits.hits, own.hits.queries) == (len(mine), 16)
        counts = [times[clip.clip_id] for clip in clips]
        assert own.hits.skewness == pytest.approx(skew(counts))
        scores = sorted(r["score"] for r in mine)
        assert own.hits.scores["0"] == scores[0]
        assert own.hits.scores["1"] == scores[-1]
        assert own.hits.scores["0.5"] == pytest.approx((scores[23] + scores[24]) / 2)
        assert own.hits.margins["0.5"] >= 0
    assert plain(stats)["build"] == stats.build
    assert any("never retrieved" in line for line in stats.lines())


def test_skewness_of_equal_counts_is_unknown():
    assert skewness([]) is None
    assert skewness([2, 2, 2]) is None
    # 0, 0, 3: mean 1, deviations -1, -1, 2: third moment 2, second 2: 2 / 2^1.5.
    assert skewness([0, 0, 3]) == pytest.approx(2 / 2**1.5)


def test_segments_say_how_many_of_their_rows_are_live(project):
    # A training line gets other words: its text row is dead, and a second segment has the new one.
    path = project.footage_root / "scene_3.srt"
    path.write_text(path.read_text().replace(FILM["scene_3"][0].text, "one lamp is empty"))
    project = refresh(project)
    scene, _, text = index_stats(project).modalities
    assert [(own.rows, own.live) for own in scene.segments] == [(12, 12)]
    assert [(own.rows, own.live) for own in text.segments] == [(12, 11), (1, 1)]
    assert text.rows == 12
    assert text.size_bytes == sum(own.size_bytes for own in text.segments)
    assert audit_index(project).findings == ()
    report = verify_index(project)
    assert (report.exit_code, report.builds) == (0, 2)
    # Scene's segment is of both builds; its files are read once.
    names = {path for path in (project.root / "index").rglob("*") if path.is_file()}
    tables = [p for p in (project.root / "neighbours").rglob("*") if p.is_file()]
    assert report.files == len(names) + len(tables)


def test_a_graph_says_how_it_was_built_and_what_it_recalls(project):
    text = (project.root / "redub.toml").read_text()
    (project.root / "redub.toml").write_text(text + 'backend = "hnsw"\n')
    project = refresh(project)
    [scene] = index_stats(project).modalities[0].segments
    assert scene.backend == "hnsw"
    assert (scene.graph.m, scene.graph.recall) == (16, 1.0)
    assert "ef 50" in " ".join(index_stats(project).lines())
    assert verify_index(project).exit_code == 0


# -- whole and right


def test_a_whole_index_is_found_whole_and_right(clean):
    report = verify_index(clean)
    assert (report.exit_code, report.is_whole, report.is_right) == (0, True, True)
    assert report.damaged == report.violations == report.not_looked_at == ()
    by_name = {own.modality: own for own in report.asked_again}
    for modality in ("scene", "text"):
        own = by_name[modality]
        assert (own.queries, own.exact_hits, own.recall, own.wrong_scores) == (16, 48, 1.0, 0)
    assert by_name["face"].recall is None
    assert plain(report)["exit_code"] == 0


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def test_every_damaged_file_of_builds_and_tables_is_named(project):
    root, build = project.root, current_build(project).build
    paths = [
        p for p in sorted((root / "index").rglob("*")) if p.is_file() and "commits" not in p.parts
    ]
    parts = sorted((root / "neighbours").rglob("part-*.parquet"))
    assert len(paths) == 3 + 3 + 4  # library, scene, text; no clip has a face
    assert parts
    for path in (*paths, *parts):
        kept = path.read_bytes()
        flip(path)
        report = verify_index(project)
        assert (report.exit_code, report.is_whole) == (IntegrityError.exit_code, False), path
        assert len(report.damaged) == 1
        assert str(path) in report.damaged[0]
        assert report.newest == build
        path.unlink()
        assert "is gone" in verify_index(project).damaged[0]
        path.write_bytes(kept)
    assert verify_index(project).exit_code == 0
    flip(paths[0])
    flip(parts[0])
    paths[-1].unlink()
    assert len(verify_index(project).damaged) == 3


def test_a_damaged_commit_record_is_named(project):
    record = next((project.root / "index" / "commits").iterdir())
    record.write_text("{}")
    report = verify_index(project)
    assert report.exit_code == IntegrityError.exit_code
    assert str(record) in report.damaged[0]
    assert report.newest == ""


def test_a_damaged_record_of_an_older_build_keeps_nothing_from_being_asked(project):
    write_tables(project.footage_root, FILM, {**SPLITS, "scene_3": "none"})
    project = refresh(project)
    first, second = sorted((project.root / "index" / "commits").iterdir())
    first.write_text("{}")
    report = verify_index(project)
    assert (report.exit_code, report.builds, report.damaged) == (0, 2, ())
    assert str(first) in report.superseded[0]
    assert "of an older build only" in " ".join(report.lines())
    assert report.newest == json.loads(second.read_text())["build"]
    assert report.is_right
    assert sum(own.exact_hits for own in report.asked_again) == 96


@pytest.mark.parametrize("what", ["hit", "score"])
def test_a_wrong_stored_neighbour_is_found(project, what):
    query = "scene_5-0001"

    def change(rows):
        mine = [r for r in rows if is_scene_row(r, query)]
        if what == "score":
            mine[0]["score"] -= 0.001
        else:
            hits = {r["hit"] for r in mine}
            others = [f"scene_{s}-000{n}" for s in range(4) for n in (1, 2, 3)]
            mine[0]["hit"] = next(clip_id for clip_id in others if clip_id not in hits)

    plant(project, change)
    report = verify_index(project)
    assert (report.exit_code, report.is_whole, report.is_right) == (6, True, False)
    scene = next(own for own in report.asked_again if own.modality == "scene")
    assert scene.wrong_scores == 1
    assert scene.recall == (1.0 if what == "score" else 47 / 48)
    assert report.violations == ()


def test_a_stored_hit_that_the_policy_forbids_is_a_violation_with_its_reasons(project):
    def change(rows):
        first_hit(rows, "scene_0-0001")["hit"] = "scene_0-0001"
        first_hit(rows, "scene_1-0001")["hit"] = "scene_1-0002"
        first_hit(rows, "scene_2-0001")["hit"] = "scene_5-0001"

    plant(project, change)
    report = verify_index(project)
    assert report.exit_code == IntegrityError.exit_code
    assert {(v.clip_id, v.hit): v.reasons for v in report.violations} == {
        ("scene_0-0001", "scene_0-0001"): ("itself", "overlap", "scene"),
        ("scene_1-0001", "scene_1-0002"): ("scene",),
        ("scene_2-0001", "scene_5-0001"): ("not in the library",),
    }


def test_a_sample_is_asked_and_the_rest_is_said(clean):
    report = verify_index(clean, queries=4)
    assert {own.queries for own in report.asked_again} == {0, 4}
    assert "12 of 16 clips" in report.not_looked_at[0]
