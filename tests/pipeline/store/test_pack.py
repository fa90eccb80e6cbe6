"""Packs: the same lines as from the store, kept part by part, refused where bytes differ."""

import hashlib
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from redub.core.errors import ClipError, ConfigError, IntegrityError
from redub.core.types import MODALITIES, AudioSpec, Clip
from redub.pipeline.stages.index import build_index
from redub.pipeline.stages.ingest import ingest
from redub.pipeline.stages.retrieve import retrieve
from redub.pipeline.stages.train import RunRequest, train_run
from redub.pipeline.store.packs.build import build_pack, open_pack
from redub.pipeline.store.packs.lines import UtteranceBuilder, adjacent_in_scene
from redub.pipeline.store.packs.links import _refuse_held_out
from redub.pipeline.store.packs.parts import FOLDER, Stored, _packed
from redub.pipeline.store.packs.voices import pick_references
from redub.pipeline.store.project import open_project
from redub.pipeline.store.runs.folders import run_folder
from redub.pipeline.store.tables import Store
from redub.pipeline.work.executor import Scheduler
from redub.training import checkpoint
from redub.training.data.batching import chosen, collate, widths_of
from redub.training.data.lines import FeatureScaler
from redub.training.data.pack import Pack
from redub.training.data.pack_lines import PackedLines

SYNC = Scheduler("sync", 1)
FRAMES = ("mel", "lips", "f0_hz", "energy")


@pytest.fixture
def project(walked, tmp_path):
    root = tmp_path / "demo"
    shutil.copytree(walked[0], root)
    shutil.rmtree(root / FOLDER, ignore_errors=True)
    return open_project(root)


def in_full(project):
    """The project with frame features packed as extracted."""
    config = replace(project.config, train=replace(project.config.train, frames="float32"))
    return replace(project, config=config)


def assert_same_line(packed, made, *, tolerance):
    assert (packed.clip_id, packed.speaker) == (made.clip_id, made.speaker)
    assert (packed.mel_frames, packed.emotion) == (made.mel_frames, made.emotion)
    np.testing.assert_array_equal(packed.phonemes, made.phonemes)
    np.testing.assert_array_equal(packed.durations, made.durations)
    np.testing.assert_array_equal(packed.speaker_vector, made.speaker_vector)
    for name in FRAMES:
        one, other = getattr(packed, name), getattr(made, name)
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)
    assert len(packed.reference_mels) == len(made.reference_mels)
    for one, other in zip(packed.reference_mels, made.reference_mels, strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)
    assert packed.vectors.keys() == made.vectors.keys()
    assert packed.hits.keys() == made.hits.keys()
    for modality, vector in made.vectors.items():
        np.testing.assert_array_equal(packed.vectors[modality], vector)
    for modality, hits in made.hits.items():
        for name in ("vectors", "audio", "scores"):
            np.testing.assert_array_equal(getattr(packed.hits[modality], name), getattr(hits, name))


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_packed_lines_are_the_lines_of_the_store(project, split):
    full, half = open_pack(in_full(project)), open_pack(project)
    report = UtteranceBuilder(project).recorded(split)
    assert full.lines(split).clip_ids == [line.clip_id for line in report.lines]
    assert full.record.left_out.get(split, {}) == report.left_out
    assert report.lines
    for exact, near, made in zip(full.lines(split), half.lines(split), report.lines, strict=True):
        assert_same_line(exact, made, tolerance=0)
        assert_same_line(near, made, tolerance=1e-3)
    assert half.record.features["mel"].dtype == "float16"
    assert full.record.features["mel"].moved == 0
    assert 0 < half.record.features["mel"].moved < 0.01  # nepers


def test_lines_are_views_of_the_mapped_files(project):
    line = open_pack(project).lines("train")[0]
    for array in (line.mel, line.reference_mels[0], line.phonemes, line.vectors["text"]):
        assert not array.flags.owndata
        assert not array.flags.writeable


def test_a_pack_is_made_once_and_other_settings_make_another(project):
    first = build_pack(project)
    assert first.fresh
    again = build_pack(project)
    assert (again.fresh, again.pack, again.written_bytes) == (False, first.pack, 0)
    other = build_pack(in_full(project))
    assert other.fresh
    assert other.pack != first.pack
    assert build_pack(project).pack == first.pack  # both stay


def test_new_clips_add_a_part_and_the_old_one_stays_as_it_is(project):
    scene = project.footage_root / "scene_01.mp4"
    kept = scene.read_bytes()
    tables = {t: (project.footage_root / t).read_text() for t in ("emotions.csv", "splits.csv")}
    scene.unlink()
    for name, text in tables.items():
        rows = [row for row in text.splitlines() if not row.startswith("scene_01.mp4")]
        (project.footage_root / name).write_text("\n".join(rows) + "\n")

    def settled():
        ingest(project, scheduler=SYNC)
        build_index(project)
        retrieve(project)
        return build_pack(project)

    few = settled()
    parts = {p: p.read_bytes() for p in (project.root / FOLDER / "parts").glob("*.arrow")}
    assert len(parts) == few.parts == 1
    scene.write_bytes(kept)
    for name, text in tables.items():
        (project.footage_root / name).write_text(text)
    all_clips = settled()
    assert all_clips.parts == 2
    assert all(path.read_bytes() == content for path, content in parts.items())
    assert all_clips.written_bytes < all_clips.size_bytes
    made = UtteranceBuilder(project).recorded("train").lines
    for packed, line in zip(open_pack(project).lines("train"), made, strict=True):
        assert_same_line(packed, line, tolerance=1e-3)
    assert settled().pack == all_clips.pack


def test_rows_of_clips_that_left_are_not_used(project):
    build_pack(project)
    train = [c for c in Store(project).clips() if c.split == "train"]
    gone = train[0].source
    (project.footage_root / gone).unlink()
    for name in ("emotions.csv", "splits.csv"):
        path = project.footage_root / name
        rows = [row for row in path.read_text().splitlines() if not row.startswith(gone)]
        path.write_text("\n".join(rows) + "\n")
    ingest(project, scheduler=SYNC)
    build_index(project)
    retrieve(project)
    summary = build_pack(project)
    assert summary.parts == 1  # the old part, with rows that no link names
    lost = {c.clip_id for c in train if c.source == gone}
    pack = open_pack(project)
    assert not lost & {*pack.links.clip_ids}
    made = UtteranceBuilder(project).recorded("train").lines
    for packed, line in zip(pack.lines("train"), made, strict=True):
        assert_same_line(packed, line, tolerance=1e-3)


@pytest.mark.parametrize("which", ["part", "links", "record", "part record"])
def test_a_damaged_pack_is_refused_and_made_again(project, which):
    summary = build_pack(project)
    root = project.root / FOLDER
    part = next((root / "parts").glob("*.arrow"))
    path = {
        "part": part,
        "links": root / summary.pack / "links.arrow",
        "record": root / summary.pack / "pack.json",
        "part record": part.with_suffix(".json"),
    }[which]
    content = path.read_bytes()
    if which == "part record":
        path.unlink()  # a run that was killed between the two
        shutil.rmtree(root / summary.pack)
    else:
        path.write_bytes(content[: len(content) // 2] + b"?" + content[len(content) // 2 + 1 :])
        with pytest.raises(IntegrityError):
            Pack.open(root, summary.pack)
    assert open_pack(project).record.pack == summary.pack
    assert path.read_bytes() == content


def test_a_pack_that_changes_under_a_run_stops_it_with_the_last_checkpoint_whole(project):
    train_run(project, RunRequest(run="watched", max_steps=2))
    pack = open_pack(project)
    pack.check_unchanged()
    links = project.root / FOLDER / pack.record.pack / "links.arrow"
    copy = links.read_bytes()
    links.unlink()
    links.write_bytes(copy)  # the same bytes, another file: what was read is unknown
    with pytest.raises(IntegrityError, match="changed while it was in use"):
        pack.check_unchanged()
    snapshot = checkpoint.newest(run_folder(project, "watched") / "checkpoints")
    assert snapshot.step == 2


def clip_of(name, scene, position, split="train"):
    return Clip(
        clip_id=name, source="a.mp4", source_digest="", start_frame=0, end_frame=1, film="f",
        scene=scene, position=position, speaker="", split=split,
    )  # fmt: skip


def test_the_context_is_the_scene_in_its_order():
    clips = [clip_of("d", "1", 2), clip_of("a", "1", 0), clip_of("x", "2", 1), clip_of("b", "1", 1)]
    before, after = adjacent_in_scene(clips)
    assert before == {"b": "a", "d": "b"}
    assert after == {"a": "b", "b": "d"}


def test_a_gap_is_not_adjacent_and_what_is_held_out_is_not_read():
    gap = [clip_of("a", "1", 0), clip_of("c", "1", 2), clip_of("d", "1", 3)]
    assert adjacent_in_scene(gap) == ({"d": "c"}, {"c": "d"})
    mixed = [clip_of("a", "1", 0), clip_of("b", "1", 1, "test"), clip_of("c", "1", 2, "test")]
    mixed += [clip_of("d", "1", 3, "validation"), clip_of("e", "1", 4)]
    before, after = adjacent_in_scene(mixed)
    assert before == {"b": "a", "c": "b"}  # test reads train and itself; no other split reads test
    assert after == {"b": "c", "d": "e"}


def test_a_hit_that_is_held_out_now_is_refused_by_name():
    clip = clip_of("a", "1", 0)
    _refuse_held_out(clip, [("b", 0.9)], {"a": "train", "b": "train"})
    for splits, word in (({"b": "test"}, "split test"), ({}, "gone")):
        with pytest.raises(IntegrityError, match=f"a retrieves b, which is .*{word}"):
            _refuse_held_out(clip, [("b", 0.9)], splits)


def test_numbers_that_are_none_are_named(project):
    kind = Stored(kind="frames", width=2, dtype="float16")
    good = np.ones((3, 2), np.float32)
    bad = good.copy()
    bad[1, 1] = np.nan
    with pytest.raises(ClipError, match="mel of two"):
        _packed("mel", kind, ["one", "two"], [good, bad])
    with pytest.raises(ConfigError, match="too large for float16"):
        _packed("mel", kind, ["one"], [good * 1e5])
    column, moved = _packed("mel", kind, ["one", "two"], [None, good * np.float32(0.1)])
    assert column.to_pylist()[0] is None
    assert moved == pytest.approx(abs(0.1 - float(np.float16(0.1))), rel=1e-3)


def test_one_modality_that_is_missing_is_left_out_of_the_line(project):
    pack = open_pack(project)
    lines = pack.lines("train")
    column = pack.columns["face_emotion"]
    row = pack.links.rows[lines.rows[0]]
    column.ends[row] = -1
    assert "face" not in lines[0].vectors
    assert set(lines[0].vectors) == set(MODALITIES) - {"face"}


def tensors_of(value):
    """Every tensor of a batch, however deep it lies, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    return [one for part in value for one in tensors_of(part)] if isinstance(value, tuple) else []


def assert_same_bits(one, other):
    first, second = tensors_of(one), tensors_of(other)
    assert one.clip_ids == other.clip_ids
    assert len(first) == len(second) > 20
    for left, right in zip(first, second, strict=True):
        assert (left.dtype, left.shape) == (right.dtype, right.shape)
        assert left.numpy().tobytes() == right.numpy().tobytes()


@pytest.mark.parametrize("frames", ["float16", "float32"])
@pytest.mark.parametrize("epoch", [0, 1, 5])
def test_a_batch_drawn_from_a_pack_is_that_of_its_lines_to_the_bit(project, frames, epoch):
    pack = open_pack(project if frames == "float16" else in_full(project))
    asked = pack.lines("validation")  # never retrieved
    rows = pack.links.rows[asked.rows]
    pack.columns["face_emotion"].ends[rows[0]] = -1  # one line lacks a modality, one has no face
    pack.columns["lips"].ends[rows[1]] = -1
    lines = PackedLines(pack, [*asked.rows, *pack.lines("train").rows])
    scaler, widths = FeatureScaler.fit(lines), widths_of(lines, AudioSpec())
    for numbers in ([0, 1, 2, 5], [0], [6], [5, 2, 5]):
        drawn = collate(chosen(lines, numbers), scaler, widths, reference_frames=40, epoch=epoch)
        made = [lines[number] for number in numbers]
        assert_same_bits(drawn, collate(made, scaler, widths, reference_frames=40, epoch=epoch))


def test_context_from_a_pack_is_that_of_its_lines_to_the_bit(project):
    from redub.pipeline.work.run_settings import with_model

    pack = open_pack(with_model(project, "m2ci_dubber"))
    lines = pack.lines("train", context=True)
    known = [line.context for line in lines]
    assert any(len(sides) == 1 for sides in known)  # first and last lines of a scene
    number = next(place for place, sides in enumerate(known) if "previous" in sides)
    before = lines[number].context["previous"]
    other = pack.links.previous[lines.rows[number]]
    row = pack.links.rows[other]
    assert np.array_equal(before.mel, pack.columns["mel"].frames(row))
    assert np.array_equal(before.global_features["audio"], pack.columns["global_audio"].vector(row))
    assert len(before.sound) == len(before.mel)
    assert (pack.links.splits[other], before.phonemes.ndim) == ("train", 1)
    scaler, widths = FeatureScaler.fit(lines), widths_of(lines, AudioSpec())
    assert min(widths.global_features) > 1
    assert "global_face" in scaler.scales
    for numbers in ([0, 1, 2], [0], [number]):
        drawn, made = (
            collate(some, scaler, widths, reference_frames=40, context=True)
            for some in (chosen(lines, numbers), [lines[place] for place in numbers])
        )
        assert_same_bits(drawn, made)
        present = [side in lines[place].context for place in numbers for side in ("previous",)]
        assert drawn.previous.phonemes_valid.any(1).tolist() == present
    triples = pack.lines("train", context=True, triples=True)
    assert len(triples) == sum(len(sides) == 2 for sides in known) < len(lines)
    assert collate(chosen(lines, [0]), scaler, widths, reference_frames=40).previous is None


def test_a_packed_line_that_does_not_fit_itself_is_named(project):
    pack = open_pack(project)
    lines = pack.lines("train")
    scaler, widths = FeatureScaler.fit(lines), widths_of(lines, AudioSpec())
    bad = int(lines.rows[1])
    frames = pack.links.mel_frames.copy()
    frames[bad] += 1
    pack.links.mel_frames = frames
    with pytest.raises(ClipError, match=pack.links.clip_ids[bad]):
        collate(chosen(lines, [0, 1]), scaler, widths, reference_frames=40)


def test_reference_mels_are_drawn_by_the_hash_of_both_names():
    members = [f"line{number}" for number in range(40)]
    for clip_id in members[:5]:
        others = [other for other in members if other != clip_id]
        hashes = {o: hashlib.sha256(f"{clip_id}\0{o}".encode()).hexdigest() for o in others}
        assert pick_references(clip_id, members, 4) == sorted(others, key=hashes.__getitem__)[:4]
    assert pick_references("line0", ["line0"], 4) == []
