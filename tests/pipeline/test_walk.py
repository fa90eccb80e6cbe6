"""From the index to a dubbed clip on a tiny demo film: what may be retrieved, what may be stale."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import polars as pl
import pytest

from redub.core.errors import ConfigError, IntegrityError, UsageError
from redub.core.types import MODALITIES, AudioSpec, VideoSpec, Waveform
from redub.evaluation.takes import GROUND_TRUTH, MEAN_MEL, RESYNTHESIS
from redub.features.models.native.child import close_children
from redub.features.sound.loudness import integrated_loudness
from redub.footage.child import DecoderChild
from redub.footage.demo_film import FilmSpec, make_film
from redub.index.notes import Notes
from redub.pipeline.dubbing.direction import Direction, EmotionTarget, LineDirection
from redub.pipeline.dubbing.mix import at_loudness
from redub.pipeline.dubbing.session import dub
from redub.pipeline.reports.evaluation import write_report
from redub.pipeline.stages.evaluate import evaluate
from redub.pipeline.stages.extract import extract
from redub.pipeline.stages.index import build_index
from redub.pipeline.stages.ingest import ingest
from redub.pipeline.stages.retrieve import retrieve
from redub.pipeline.stages.synthesize import synthesize
from redub.pipeline.stages.train import RunRequest, train_run
from redub.pipeline.store.index.build_record import current_build
from redub.pipeline.store.index.builds import open_index
from redub.pipeline.store.index.neighbours import neighbours_of
from redub.pipeline.store.packs.lines import UtteranceBuilder
from redub.pipeline.store.project import open_project
from redub.pipeline.store.runs.evaluations import is_evaluated, last_evaluation
from redub.pipeline.store.runs.takes import read_samples
from redub.pipeline.store.tables import Store
from redub.pipeline.store.verify import repair_store, verify_store
from redub.pipeline.store.weights import add_weights
from redub.pipeline.work import query
from redub.pipeline.work.executor import Scheduler
from redub.pipeline.work.query import excluded_clips, query_answer, query_clip
from redub.pipeline.work.train_plan import next_run
from redub.training.synthesis import VoiceControl, synthesise
from tests.features.made_library import made_library
from tests.json_schema import checked
from tests.pipeline.conftest import STEPS
from tests.pipeline.films import tree_digest
from tests.typed import LONG_S, Typed, redub

SYNC = Scheduler("sync", 1)


@pytest.fixture
def project(walked, tmp_path):
    root = tmp_path / "demo"
    shutil.copytree(walked[0], root)
    return open_project(root)


def test_the_demo_says_where_to_look(walked):
    root, said = walked
    text = "\n".join(said)
    assert str(root / "report.html") in text
    assert (root / "report.html").stat().st_size > 100_000
    scenes = {c.source for c in Store(open_project(root)).clips() if c.split == "test"}
    assert {p.name for p in (root / "dubbed").glob("*.mp4")} == scenes
    assert len(list((root / "dubbed").glob("*.take.json"))) == len(scenes)


@pytest.mark.slow
def test_the_demo_as_typed_makes_the_same_store_in_worker_processes(walked, typed_demo):
    root = typed_demo
    assert (root / "report.html").stat().st_size > 100_000
    here, there = tree_digest(walked[0]), tree_digest(root)
    rooms = ("features/", "index/", "neighbours/")  # clip rows know when a file was written
    for room in rooms:
        assert any(name.startswith(room) for name in here), room
    assert {name: made for name, made in there.items() if name.startswith(rooms)} == {
        name: made for name, made in here.items() if name.startswith(rooms)
    }
    assert Store(open_project(root)).clips() == Store(open_project(walked[0])).clips()
    for path in sorted((root / "footage").iterdir()):
        assert path.read_bytes() == (walked[0] / "footage" / path.name).read_bytes()


def test_no_line_retrieves_itself_or_a_held_out_line(finished):
    store = Store(finished)
    splits = {c.clip_id: c.split for c in store.clips()}
    found = neighbours_of(store, open_index(finished))
    assert set(found) == set(splits)
    for clip_id, by_modality in found.items():
        assert set(by_modality) <= set(MODALITIES)
        for hits in by_modality.values():
            assert len(hits) == 3
            assert clip_id not in {hit for hit, _ in hits}
            assert {splits[hit] for hit, _ in hits} == {"train"}
            scores = [score for _, score in hits]
            assert scores == sorted(scores, reverse=True)


def test_a_query_now_is_what_was_stored(finished):
    found = neighbours_of(Store(finished), open_index(finished))
    clip_id = sorted(found)[0]
    answer = query_clip(finished, clip_id)
    for modality, hits in found[clip_id].items():
        assert [(h.clip_id, pytest.approx(h.score)) for h in answer[modality]] == hits


def test_sound_is_a_query_for_clips_that_have_it(finished):
    """The answer is that of cosines, computed here from the stored vectors."""
    store = Store(finished)
    index = open_index(finished)
    allowed = {c.clip_id for c in index.clips}
    clip = index.clips[0]
    excluded = excluded_clips(finished, clip.clip_id)
    hits = query_clip(finished, clip.clip_id, modality="audio", k=5)["audio"]

    unit = index.audio / np.maximum(np.linalg.norm(index.audio, axis=1, keepdims=True), 1e-12)
    scores = dict(zip([c.clip_id for c in index.clips], unit @ unit[0], strict=True))
    eligible = [i for i in scores if i in allowed and i not in excluded]
    best = sorted(eligible, key=lambda i: (-scores[i], i))[:5]
    assert [hit.clip_id for hit in hits] == best
    np.testing.assert_allclose([h.score for h in hits], [scores[i] for i in best], atol=1e-5)
    # A clip outside of the library is transformed like the library.
    outside = next(c for c in store.clips() if c.split == "test")
    assert query_clip(finished, outside.clip_id, modality="audio")["audio"]


def test_scores_and_notes_that_tell_nothing_are_said(finished):
    clip_id = open_index(finished).clips[0].clip_id
    plain = query_answer(finished, clip_id)
    assert set(plain.neighbours) == {*MODALITIES, "audio"}
    assert not any("notes" in remark for remark in plain.remarks)

    # A note that names the clip's own best text neighbour first changes something elsewhere only
    # if the other modalities have vectors of that clip; unliking a clip that is never retrieved
    # changes nothing at all.
    retrieved = {hit.clip_id for hits in plain.neighbours.values() for hit in hits}
    excluded = excluded_clips(finished, clip_id)
    away = next(i for i in excluded if i not in retrieved)
    idle = query_answer(finished, clip_id, notes=Notes(unlike=(away,)))
    assert idle.neighbours == plain.neighbours
    assert "the notes change nothing in: scene, face, text, audio" in idle.remarks
    first = plain.neighbours["text"][0].clip_id
    told = query_answer(finished, clip_id, notes=Notes(unlike=(first,)))
    assert not any("notes" in remark and "text" in remark for remark in told.remarks)


def test_equal_scores_are_said(finished, monkeypatch):
    hit = query_clip(finished, open_index(finished).clips[0].clip_id)["face"][0]
    same = [replace(hit, rank=1, score=1.0), replace(hit, rank=2, score=1.0 - 1e-8)]
    monkeypatch.setattr(query, "_answered", lambda *_: [{"face": same, "text": [hit]}])
    remarks = query_answer(finished, "x").remarks
    assert len(remarks) == 1
    assert remarks[0].startswith("face: all 2 hits have the score 1.0000")


def test_hits_carry_the_vectors_of_their_own_clips(finished):
    builder = UtteranceBuilder(finished)
    line = builder.scripted("test").lines[0]
    hits = builder.neighbours[line.clip_id]["face"]
    own = builder.values["face_emotion"]
    np.testing.assert_array_equal(line.hits["face"].vectors, [own[hit] for hit, _ in hits])
    rows = [builder.index.table.clip_id.tolist().index(hit) for hit, _ in hits]
    np.testing.assert_array_equal(line.hits["face"].audio, builder.index.audio[rows])


def test_a_line_to_be_spoken_knows_nothing_of_its_recording(finished):
    builder = UtteranceBuilder(finished)
    report = builder.scripted("test")
    assert report.lines
    for line in report.lines:
        assert line.mel is None
        assert line.durations is None
        assert line.f0_hz is None
        assert line.energy is None
        own = builder.values["mel"][line.clip_id]
        assert all(t.shape != own.shape or not np.array_equal(t, own) for t in line.reference_mels)


def test_what_was_recorded_of_a_test_line_does_not_change_how_it_is_spoken(finished):
    # Metamorphic: scramble every recorded feature of the test lines; the lines stay the same.
    builder, other = UtteranceBuilder(finished), UtteranceBuilder(finished)
    ids = [c.clip_id for c in builder.clips if c.split == "test"]
    rng = np.random.default_rng(0)
    for name in ("mel", "f0", "energy", "durations", "speaker"):
        for clip_id in ids:
            if clip_id in other.values[name]:
                value = np.asarray(other.values[name][clip_id])
                other.values[name][clip_id] = rng.permutation(value)
    for a, b in zip(builder.scripted("test").lines, other.scripted("test").lines, strict=True):
        np.testing.assert_array_equal(a.phonemes, b.phonemes)
        np.testing.assert_array_equal(a.speaker_vector, b.speaker_vector)
        for one, two in zip(a.reference_mels, b.reference_mels, strict=True):
            np.testing.assert_array_equal(one, two)


def test_a_training_line_takes_its_timbre_from_other_lines(finished):
    builder = UtteranceBuilder(finished)
    for line in builder.recorded("train").lines:
        assert all(t is not builder.values["mel"][line.clip_id] for t in line.reference_mels)
        assert not any(
            t.shape == line.mel.shape and np.array_equal(t, line.mel) for t in line.reference_mels
        )


def test_a_clip_that_becomes_a_test_clip_leaves_the_library_or_nothing_goes_on(project):
    path = project.footage_root / "splits.csv"
    lines = path.read_text().splitlines()
    moved = next(line for line in lines if line.endswith(",train")).partition(",")[0]
    path.write_text("\n".join(lines).replace(f"{moved},train", f"{moved},test") + "\n")
    ingest(project, scheduler=SYNC)
    with pytest.raises(ConfigError, match="redub index build"):
        UtteranceBuilder(project)
    before = current_build(project).build
    build_index(project)
    assert current_build(project).build != before
    assert moved not in {clip.source for clip in open_index(project).clips}
    with pytest.raises(ConfigError, match="redub retrieve"):
        UtteranceBuilder(project)
    retrieve(project)
    test = {c.clip_id for c in Store(project).clips() if c.split == "test"}
    found = neighbours_of(Store(project), open_index(project))
    hits = {hit for m in found.values() for rows in m.values() for hit, _ in rows}
    assert not hits & test
    with pytest.raises(ConfigError, match="redub synthesize"):
        evaluate(project, runs=["authentic"], scheduler=SYNC)


def test_a_source_that_is_taken_away_is_live_no_longer_and_comes_back_cheaply(project):
    gone = project.footage_root / "scene_01.mp4"
    kept = gone.read_bytes(), gone.stat().st_mtime_ns
    clips = {c.clip_id for c in Store(project).clips() if c.source == "scene_01.mp4"}
    gone.unlink()
    for table in ("emotions.csv", "splits.csv"):
        path = project.footage_root / table
        rows = [r for r in path.read_text().splitlines() if not r.startswith("scene_01.mp4")]
        path.write_text("\n".join(rows) + "\n")
    assert ingest(project, scheduler=SYNC).gone == 1
    assert not clips & {c.clip_id for c in Store(project).clips()}
    gone.write_bytes(kept[0])
    assert ingest(project, scheduler=SYNC).gone == 0
    live = Store(project).live_features("mel").filter(pl.col("clip_id").is_in(list(clips)))
    assert len(live) == len(clips)


def test_samples_of_an_older_checkpoint_are_refused(project):
    train_run(project, RunRequest(run="authentic", max_steps=STEPS + 2))
    with pytest.raises(ConfigError, match="redub synthesize authentic"):
        read_samples(project, "authentic", "test")
    synthesize(project, run="authentic")
    assert read_samples(project, "authentic", "test")


def test_a_run_does_not_go_on_under_another_retrieval(project):
    config = project.root / "redub.toml"
    config.write_text(config.read_text().replace("[index]\n", "[index]\nk = 2\n"))
    other = open_project(project.root)
    assert not build_index(other).fresh  # K is asked at every search
    retrieve(other)
    with pytest.raises(ConfigError, match=r"trained with other settings: keys\.retrieval"):
        train_run(other, RunRequest(run="authentic", max_steps=STEPS + 4))
    assert next_run(other, "authentic") == "authentic-2"
    assert next_run(project, "authentic") == "authentic"  # its own neighbours are still there


def test_a_run_that_can_go_on_keeps_its_name(finished):
    assert next_run(finished, "authentic") == "authentic"
    assert next_run(finished, "unknown") == "unknown"


def test_a_run_is_not_judged_on_lines_it_was_trained_on(project):
    path = project.footage_root / "splits.csv"
    rows = dict(line.split(",") for line in path.read_text().splitlines()[1:])
    test = next(s for s, split in rows.items() if split == "test")
    train = next(s for s, split in rows.items() if split == "train")
    rows[test], rows[train] = "train", "test"
    path.write_text("source,split\n" + "".join(f"{s},{split}\n" for s, split in rows.items()))
    ingest(project, scheduler=SYNC)
    build_index(project)
    retrieve(project)
    with pytest.raises(ConfigError, match="trained on 4 lines that are test lines now"):
        synthesize(project, run="authentic")


def test_what_was_spoken_and_measured_is_not_done_again(project):
    assert synthesize(project, run="authentic").lines == 0
    runs = ["authentic", "baseline"]
    assert is_evaluated(project, runs)
    config = project.root / "redub.toml"
    config.write_text(config.read_text() + "\n[evaluate]\nbootstrap = 100\n")
    assert not is_evaluated(open_project(project.root), runs)


def test_a_damaged_index_and_lost_neighbours_are_made_again(project):
    build = current_build(project).build
    next((project.root / "index" / "face").rglob("vectors.npy")).unlink()
    with pytest.raises(IntegrityError):
        open_index(project)
    assert build_index(project).fresh
    assert open_index(project).build == build
    part = next((project.root / "neighbours").rglob("part-*.parquet"))
    before = neighbours_of(Store(project), open_index(project))
    part.unlink()
    assert retrieve(project).queries > 0
    assert neighbours_of(Store(project), open_index(project)) == before


def test_a_damaged_feature_is_found_taken_out_and_computed_again(project):
    part = next((project.root / "features" / "energy").rglob("part-*.parquet"))
    before = Store(project).read("energy")
    part.write_bytes(part.read_bytes()[:-9] + bytes(9))
    assert len(verify_store(project)[1]) == 1
    assert [name.split("/")[1] for name in repair_store(project)] == ["energy"]
    done = extract(project, scheduler=SYNC)
    assert done.rows == 24  # of energy alone
    assert verify_store(project)[1] == []
    after = Store(project).read("energy")
    assert all(np.array_equal(after[clip_id], value) for clip_id, value in before.items())
    assert after.keys() == before.keys()


def test_damaged_weights_and_takes_are_found(project):
    weights = next((project.root / "runs" / "authentic").rglob("weights.safetensors"))
    take = next((project.root / "runs" / "baseline").rglob("0001.wav"))
    for path in (weights, take):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 4
        path.write_bytes(bytes(content))
    wrong = verify_store(project)[1]
    assert len(wrong) == 2
    assert any("0001.wav" in line for line in wrong)


def test_a_damaged_index_file_is_refused_before_it_is_parsed(project):
    path = next((project.root / "index" / "face").rglob("vectors.npy"))
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(IntegrityError, match=r"vectors\.npy"):
        open_index(project)


def test_the_table_has_ground_truth_resynthesis_and_the_mean(finished):
    found = last_evaluation(finished)
    systems = [row.system for row in found.systems]
    assert systems == [GROUND_TRUTH, RESYNTHESIS, "authentic", "baseline", MEAN_MEL]
    truth = found.scores(GROUND_TRUTH).values
    assert truth["mcd_dtw_mel"].value == 0
    assert truth["gpe"].value == 0
    assert 0 < found.scores(RESYNTHESIS).values["mcd_dtw"].value < 3
    for run in ("authentic", "baseline"):
        own = found.scores(run).values
        assert own["slot_error_ms"].value < 60
        assert own["wer"].value >= 0  # a system of which no word is understood is not left out


def test_the_report_is_one_file_with_every_shown_line(finished, tmp_path):
    page = write_report(finished, tmp_path / "page.html").read_text()
    for clip in Store(finished).clips():
        if clip.split == "test":
            assert clip.clip_id in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page


def streams(path):
    with av.open(str(path)) as media:
        video = media.streams.video[0]
        packets = [bytes(p) for p in media.demux(video) if p.size]
    with av.open(str(path)) as media:
        sound = media.streams.audio[0]
        frames = [f.to_ndarray().mean(axis=0) for f in media.decode(audio=0)]
        return packets, np.concatenate(frames), sound.rate


def dubbed(project, folder, direction=None):
    """Scene 6 from its own script: the summary, the new video and the lines of its take."""
    video, out = project.footage_root / "scene_06.mp4", folder / "out.mp4"
    script = video.with_suffix(".srt")
    summary = dub(project, video=video, script=script, output=out, direction=direction)
    return summary, out, json.loads(Path(summary.take).read_text())["lines"]


@pytest.fixture(scope="module")
def plain(finished, tmp_path_factory):
    """Scene 6 dubbed without any direction."""
    return dubbed(finished, tmp_path_factory.mktemp("plain"))


def test_a_dubbed_clip_keeps_its_picture_and_speaks_only_in_its_slots(finished, plain):
    summary, out, _ = plain
    assert summary.dubbed == 4
    assert summary.faults == []
    before, _, _ = streams(finished.footage_root / "scene_06.mp4")
    after, samples, rate = streams(out)
    assert after == before
    assert summary.loudness_lufs == pytest.approx(summary.original_lufs, abs=1.5)
    inside = np.zeros(len(samples), dtype=bool)
    for start, end in summary.slots:
        inside[round((start - 0.03) * rate) : round((end + 0.03) * rate)] = True
    loud = np.abs(samples)
    assert loud[inside].max() > 0.05
    assert loud[~inside].max() < 0.02


def test_notes_change_one_lines_hits_and_are_kept_with_the_take(finished, plain, tmp_path):
    _, _, plain = plain
    assert all(line["notes"] == {} and line["hits"] for line in plain)
    unwanted = plain[1]["hits"]["text"][0]["clip_id"]
    known_emotion = open_index(finished).clips[0].emotion
    notes = Notes.parse(unlike=[unwanted], more=[f"{known_emotion}:0.4"])
    direction = Direction.of_lines(LineDirection(notes=notes), [plain[1]["line"]])
    _, _, noted = dubbed(finished, tmp_path, direction)
    assert Notes.from_json(noted[1]["notes"], tmp_path) == notes
    assert unwanted not in {hit["clip_id"] for hit in noted[1]["hits"]["text"]}
    assert [noted[k] for k in (0, 2, 3)] == [plain[k] for k in (0, 2, 3)]
    with pytest.raises(UsageError, match="no line 99"):
        dubbed(finished, tmp_path, Direction.of_lines(LineDirection(notes=notes), [99]))
    jaws = LineDirection(notes=Notes.parse(films=["Jaws"]))
    with pytest.raises(UsageError, match="the library has no film 'Jaws'"):
        dubbed(finished, tmp_path, Direction(everywhere=jaws))


def test_ground_truth_length_speaks_the_phonemes_and_pauses_of_the_recording(project):
    train = replace(project.config.train, model_settings={"legacy": ["ground_truth_length"]})
    project = replace(project, config=replace(project.config, train=train))
    train_run(project, RunRequest(run="legacy", max_steps=1))
    synthesize(project, run="legacy")
    spoken = read_samples(project, "legacy", "test")
    builder = UtteranceBuilder(project)
    recorded = {line.clip_id: len(line.phonemes) for line in builder.recorded("test").lines}
    assert {i: len(sample.durations) for i, sample in spoken.items()} == recorded
    words = {line.clip_id: len(line.phonemes) for line in builder.scripted("test").lines}
    assert any(recorded[i] != words[i] for i in recorded)  # the recording pauses between words


def test_controls_of_a_line_change_it_and_are_kept_with_the_take(finished, plain, tmp_path):
    known_emotion = open_index(finished).clips[0].emotion
    asked = LineDirection(
        control=VoiceControl(pitch=0.5, energy=3.0, rate=1.2),
        emotion_target=EmotionTarget(emotion=known_emotion, intensity=0.8),
    )
    takes, sound = {}, {}
    directed = dubbed(finished, tmp_path, Direction.of_lines(asked, [2]))
    for name, (summary, out, lines) in (("plain", plain), ("asked", directed)):
        takes[name] = lines
        _, samples, rate = streams(out)
        sound[name] = [
            samples[round(start * rate) : round(end * rate)] for start, end in summary.slots
        ]
    assert [line["controls"] for line in takes["plain"]] == [{}] * 4
    assert [bool(line["controls"]) for line in takes["asked"]] == [False, True, False, False]
    assert takes["asked"][1]["controls"]["emotion"] == {
        "emotion": known_emotion,
        "intensity": 0.8,
    }
    scores = [takes[name][1]["hits"]["text"] for name in ("plain", "asked")]
    assert scores[0] != scores[1]  # it asks the library as what it feels
    alike = [
        float(np.corrcoef(one, other)[0, 1])
        for one, other in zip(sound["plain"], sound["asked"], strict=True)
    ]
    assert alike[1] < 0.9 < min(alike[0], alike[2], alike[3])


def test_every_exclusion_of_a_clip_is_named(finished):
    index = open_index(finished)
    clip = index.clips[3]
    found = excluded_clips(finished, clip.clip_id)
    assert "itself" in found[clip.clip_id]
    hits = query_clip(finished, clip.clip_id, k=100)["text"]
    assert {hit.clip_id for hit in hits} == {c.clip_id for c in index.clips} - found.keys()
    other = hits[0].clip_id
    noted = excluded_clips(finished, clip.clip_id, notes=Notes.parse(unlike=[other]))
    assert noted == {**found, other: ["excluded"]}


def test_the_voice_can_be_a_speaker_or_a_clip(finished, tmp_path):
    builder = UtteranceBuilder(finished)
    name = sorted(builder.voices)[0]
    assert builder.named_voice(name).name == name
    clip_id = builder.voices[name].clip_ids[0]
    assert builder.named_voice(clip_id).clip_ids == (clip_id,)
    with pytest.raises(ConfigError, match="unknown voice"):
        builder.named_voice("NOBODY AT ALL")


def test_dub_speaks_what_it_can_and_names_the_rest(finished, tmp_path):
    script = tmp_path / "script.srt"
    script.write_text(
        "1\n00:00:00,200 --> 00:00:01,600\nwe should go home now\n\n"
        "2\n00:00:01,800 --> 00:00:03,000\nxylqz frobnicate\n\n"
        "3\n00:00:03,900 --> 00:00:03,200\nthank you\n\n"
    )
    done = typed(finished, script, tmp_path / "o.mp4", "--json", "--voice", "RUBY")
    assert done.returncode == 3, done.stderr
    answer = checked(done.stdout)
    assert answer["dubbed"] == 1
    assert {f["line"]: f["code"] for f in answer["faults"]} == {
        2: "E-TEXT-OOV",
        3: "E-SUB-REVERSED",
    }
    assert (tmp_path / "o.mp4").exists()


def test_dub_refuses_a_misspelt_speaker_before_any_work(finished, tmp_path):
    script = tmp_path / "script.srt"
    script.write_text("1\n00:00:00,200 --> 00:00:01,600\nRUBI: we should go home now\n")
    done = typed(finished, script, tmp_path / "o.mp4")
    assert done.returncode == 4, done.stderr
    assert "line 1 (file line 3) names 'RUBI': did you mean 'RUBY'?" in done.stderr
    assert not (tmp_path / "o.mp4").exists()


def test_an_off_screen_line_is_spoken_without_lips(finished, tmp_path, monkeypatch):
    script = tmp_path / "script.srt"
    script.write_text(
        "1\n00:00:00,200 --> 00:00:01,600\nRUBY: we should go home now\n\n"
        "2\n00:00:01,800 --> 00:00:03,200\nRUBY (O.S.): thank you\n"
    )
    lips = {}

    def listening(dubber, lines, controls=None):
        lips.update({line.clip_id: line.lips for line in lines})
        return synthesise(dubber, lines, controls)

    monkeypatch.setattr("redub.pipeline.dubbing.session.synthesise", listening)
    video = finished.footage_root / "scene_06.mp4"
    summary = dub(finished, video=video, script=script, output=tmp_path / "o.mp4")
    assert (summary.dubbed, summary.faults) == (2, [])
    assert lips["scene_06-0001"] is not None
    assert lips["scene_06-0002"] is None


def typed(project, script, output, *words):
    video = project.footage_root / "scene_06.mp4"
    return redub("dub", video, "--script", script, "-o", output, "-C", project.root, *words)


@pytest.fixture
def two_lines(tmp_path):
    script = tmp_path / "two.srt"
    script.write_text(
        "1\n00:00:00,200 --> 00:00:01,600\nwe should go home now\n\n"
        "2\n00:00:01,800 --> 00:00:03,200\nthank you\n\n"
    )
    return script


def test_a_separated_background_is_heard_between_the_lines(finished, two_lines, tmp_path):
    """The library halves every sound, so half of the original is heard where nobody speaks."""
    root = shutil.copytree(finished.root, tmp_path / "copy")
    out = tmp_path / "o.mp4"
    words = ("dub", root / "footage" / "scene_06.mp4", "--script", two_lines, "-o", out, "-C", root)
    refused = redub(*words, "--background", "separate")
    assert refused.returncode == 8
    assert "redub weights get deepfilternet" in refused.stderr
    assert redub(*words, "--background", "some").returncode == 2
    add_weights(root, "deepfilternet", made_library(tmp_path / "library").path)
    summary = dub(  # in this process, which takes the made library for the published one
        open_project(root),
        video=root / "footage" / "scene_06.mp4",
        script=two_lines,
        output=out,
        background="separate",
    )
    close_children()
    assert any("what is left of the original sound" in note for note in summary.notes)
    assert json.loads(out.with_suffix(".take.json").read_text())["background"] == "separate"
    with DecoderChild() as decoder:
        before, after = (
            decoder.decode(
                path, start_frame=90, end_frame=140, video=VideoSpec(), audio=AudioSpec(),
                frames=False,
            ).waveform.samples
            for path in (root / "footage" / "scene_06.mp4", out)
        )  # fmt: skip
    assert np.sqrt(np.mean(np.square(before))) > 1e-3
    assert np.corrcoef(before, after)[0, 1] > 0.95
    assert np.dot(before, after) / np.dot(before, before) == pytest.approx(0.5, abs=0.05)


def test_the_voice_of_one_line_is_that_lines_alone(finished, two_lines, tmp_path):
    names = sorted(UtteranceBuilder(finished).voices)[:2]
    done = typed(
        finished, two_lines, tmp_path / "o.mp4", "--line", "2", "--voice", names[1], "--pitch", "1"
    )
    assert done.returncode == 0, done.stderr
    lines = json.loads((tmp_path / "o.take.json").read_text())["lines"]
    assert lines[1]["voice"] == names[1]
    assert lines[0]["controls"] == {}
    assert lines[1]["controls"]["voice"] == names[1]
    nothing = typed(finished, two_lines, tmp_path / "p.mp4", "--line", "2", "--pitch", "0")
    assert nothing.returncode == 2
    assert "change nothing" in nothing.stderr


def test_what_a_system_has_no_use_for_is_refused_and_not_noted(finished, two_lines, tmp_path):
    train_run(finished, RunRequest(run="plain", model="fastspeech2", max_steps=1))
    for words, said in (
        (("--emotion", "sad:1"), "reads no emotion vectors"),
        (("--context", "dubbed"), "does not read adjacent utterances"),
    ):
        done = typed(finished, two_lines, tmp_path / "o.mp4", "--run", "plain", *words)
        assert done.returncode == 2, done.stderr
        assert said in done.stderr
        assert not (tmp_path / "o.take.json").exists()
    odd = typed(finished, two_lines, tmp_path / "o.mp4", "--context", "mine")
    assert odd.returncode == 2
    assert "wanted original or dubbed" in odd.stderr


def test_a_system_with_context_reads_the_original_or_the_dubbed_scene(
    finished, two_lines, tmp_path, monkeypatch
):
    train_run(finished, RunRequest(run="near", model="m2ci_dubber", max_steps=2))
    contexts = {}

    def listening(dubber, lines, controls=None):
        for line in lines:
            contexts.setdefault(choice, []).append(line.context)
        return synthesise(dubber, lines, controls)

    monkeypatch.setattr("redub.pipeline.dubbing.session.synthesise", listening)
    monkeypatch.setattr("redub.pipeline.dubbing.voices.synthesise", listening)
    video = finished.footage_root / "scene_06.mp4"
    for choice in ("original", "dubbed"):
        output = tmp_path / f"{choice}.mp4"
        dub(finished, video=video, script=two_lines, output=output, run="near", context=choice)
        assert json.loads(output.with_suffix(".take.json").read_text())["context"] == choice
    first, second = contexts["original"]
    assert set(first) == {"following"}
    assert set(second) == {"previous"}
    assert first["following"].sound is not None
    unspoken, spoken = contexts["dubbed"]
    assert unspoken["following"].sound is None  # it has not been spoken yet
    assert unspoken["following"].phonemes is not None
    assert unspoken["following"].local_face is not None
    before, as_it_was = spoken["previous"], second["previous"]
    assert before.sound.shape == as_it_was.sound.shape
    assert not np.array_equal(before.sound, as_it_was.sound)
    assert not np.array_equal(before.global_features["audio"], as_it_was.global_features["audio"])
    assert np.array_equal(before.global_features["text"], as_it_was.global_features["text"])


def test_lines_that_are_spoken_know_the_lines_around_them(finished):
    builder = UtteranceBuilder(finished, "m2ci_dubber")
    lines = builder.scripted("test").lines
    known = [line.context for line in lines]
    assert any(len(sides) == 2 for sides in known) or any(known)
    for line in lines:
        for side, adjacent in line.context.items():
            other = builder.by_id[builder.sides[side][line.clip_id]]
            assert abs(other.position - builder.by_id[line.clip_id].position) == 1
            mel = np.asarray(builder.values["mel"][other.clip_id])
            assert np.array_equal(adjacent.mel, mel)
    assert not UtteranceBuilder(finished).sides


@pytest.mark.parametrize(
    ("words", "schema"),
    [
        (("index", "query", "CLIP"), "index.query"),
        (("index", "excluded", "CLIP"), "index.excluded"),
        (("index", "stats"), "index.stats"),
        (("index", "audit"), "index.audit"),
        (("index", "verify", "--queries", "5"), "index.verify"),
        (("index", "precision"), "index.precision"),
        (
            ("index", "precision", "--table", "-k", "3", "--modality", "text"),
            "index.precision_table",
        ),
        (("index", "explain", "CLIP", "-o", "PAGE"), "page"),
        (("index", "map", "--media", "none", "-o", "PAGE"), "page"),
        (("report", "-o", "PAGE"), "page"),
        (("index", "build"), "index.build"),
        (("retrieve",), "retrieve"),
        (("pack",), "pack"),
        (("synthesize",), "synthesize"),
        (("train", "--estimate", "--max-steps", "30"), "train.estimate"),
        (("runs", "ls"), "runs"),
        (("runs", "show", "authentic"), "runs.show"),
        (("runs", "compare", "authentic", "baseline"), "runs.compare"),
        (("runs", "export", "authentic", "WEIGHTS"), "runs.export"),
        (("run", "--from", "retrieve", "--to", "retrieve"), "run"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else "",
)
def test_commands_print_their_documents(finished, tmp_path, words, schema):
    clip_id = next(c.clip_id for c in Store(finished).clips() if c.split == "test")
    places = {
        "CLIP": clip_id,
        "PAGE": tmp_path / "page.html",
        "WEIGHTS": tmp_path / "w.safetensors",
    }
    done = redub(*(places.get(word, word) for word in words), "--json", "-C", finished.root)
    assert done.returncode in (0, 3), done.stderr  # 3: an audit that found leaks
    assert checked(done.stdout)["schema"] == f"redub.{schema}/1"
    assert len(done.stdout.splitlines()) == 1


def test_commands_that_change_the_project_print_their_documents(finished, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(finished.root, root)
    toml = (root / "redub.toml").read_text()
    (root / "redub.toml").write_text(toml + "\n[evaluate]\nasr = false\nbootstrap = 50\n")
    for words, schema in (
        (("evaluate", "authentic", "--scheduler", "sync"), "evaluate"),
        (("train", "--run", "authentic"), "train"),
        (("runs", "rm", "baseline", "--yes"), "runs.rm"),
    ):
        done = redub(*words, "--json", "-C", root)
        assert done.returncode == 0, done.stderr
        assert checked(done.stdout)["schema"] == f"redub.{schema}/1"
    assert not (root / "runs" / "baseline").exists()


@pytest.mark.slow
def test_a_demo_that_is_up_to_date_prints_its_document(typed_demo, tmp_path):
    root = shutil.copytree(typed_demo, tmp_path / "copy")
    again = Typed("demo", root, "--quick", "--seed", "3", "--json").done(LONG_S)
    assert again.returncode == 0, again.stderr
    assert checked(again.stdout)["runs"] == ["authentic", "baseline"]


def test_gain_reaches_the_wanted_loudness_without_clipping():
    t = np.arange(32_000) / 16_000
    quiet = Waveform((0.01 * np.sin(2 * np.pi * 440 * t)).astype(np.float32), 16_000)
    assert integrated_loudness(at_loudness(quiet, -23.0)) == pytest.approx(-23.0, abs=0.1)
    loud = at_loudness(quiet, 0.0)
    assert np.abs(loud.samples).max() <= 10 ** (-1 / 20) + 1e-6
    silence = Waveform(np.zeros(16_000, np.float32), 16_000)
    assert not at_loudness(silence, -23.0).samples.any()


def test_the_same_film_twice_is_the_same_film(tmp_path):
    spec = FilmSpec(seed=5, scenes=1, lines_per_scene=1)
    for name in ("a", "b"):
        make_film(tmp_path / name, tmp_path / f"truth_{name}", spec, workers=1)
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
