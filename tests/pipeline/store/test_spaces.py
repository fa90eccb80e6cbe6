"""Fitted transforms in the index: fitted on the library alone, stored, and lawful as it grows."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from redub.core.config import digest_of
from redub.core.errors import ConfigError, IntegrityError
from redub.core.types import MODALITIES
from redub.index.library import LibraryTable, ModalityIndex
from redub.index.library import retrieve as search
from redub.index.notes import Notes
from redub.index.policy import ClipFacts, Policy
from redub.index.selection import Selection
from redub.index.transform import fitted_digest
from redub.index.transform_steps import SpeakerZScore, Whiten
from redub.pipeline.reports.index.audit import audit_index
from redub.pipeline.reports.index.casting_sheet import casting_sheet
from redub.pipeline.reports.index.emotion_map import emotion_map
from redub.pipeline.reports.index.stats import index_stats
from redub.pipeline.reports.index.verify import verify_index
from redub.pipeline.stages.extract import extract
from redub.pipeline.stages.index import build_index
from redub.pipeline.stages.ingest import ingest
from redub.pipeline.stages.retrieve import retrieve
from redub.pipeline.store.index.build_record import current_build, records_of_builds
from redub.pipeline.store.index.builds import OpenIndex, open_index
from redub.pipeline.store.index.neighbours import retrieval_key
from redub.pipeline.store.index.spaces import fit_space
from redub.pipeline.store.project import open_project
from redub.pipeline.store.tables import Store
from redub.pipeline.work.executor import Scheduler
from redub.pipeline.work.query import neighbour_rows, query_clip
from tests.pipeline.films import add_source

SYNC = Scheduler("sync", 1)
FEATURES = ["waveform", *(f"{modality}_emotion" for modality in (*MODALITIES, "audio"))]
FEELINGS = ("happy", "sad", "angry")
SOURCES = tuple(f"scene_{number}" for number in range(5))
PAIRS = [("speaker_zscore", "whiten"), ("whiten", "speaker_zscore"), ("lda", "lda")]


@pytest.fixture(scope="module")
def footage(tmp_path_factory):
    """Five scenes of three lines, all extracted; no clip shows a face, nothing is indexed yet."""
    root = tmp_path_factory.mktemp("spaces")
    for number, name in enumerate(SOURCES):
        add_source(root / "footage", name, seed=number, lines=3)
    rows = [
        f"{name}.mp4,{line},{FEELINGS[number * line % 3]}"
        for number, name in enumerate(SOURCES)
        for line in (1, 2, 3)
    ]
    (root / "footage" / "emotions.csv").write_text("\n".join(["source,line,emotion", *rows]) + "\n")
    (root / "redub.toml").write_text('name = "small"\n[index]\nk = 9\n')
    project = train_on(root, SOURCES[:2])
    extract(project, scheduler=SYNC, features=FEATURES)
    return root


@pytest.fixture
def root(footage, tmp_path):
    return shutil.copytree(footage, tmp_path / "project")


def train_on(root, sources):
    """The named sources are the library, the others are held out."""
    rows = [f"{name}.mp4,{'train' if name in sources else 'test'}" for name in SOURCES]
    (root / "footage" / "splits.csv").write_text("\n".join(["source,split", *rows]) + "\n")
    project = open_project(root)
    ingest(project, scheduler=SYNC)
    return project


def settle(root, **transforms):
    lines = [f'{modality}_transform = "{name}"\n' for modality, name in transforms.items()]
    (root / "redub.toml").write_text(
        'name = "small"\n[index]\nk = 9\n' + "".join(lines), encoding="utf-8"
    )
    return open_project(root)


def answers(project, notes=None, every=1):
    """Hits and scores of every so many clips; each query opens the index again, which takes time.

    Every third clip is the first line of each source.
    """
    return {
        (clip.clip_id, modality): [(hit.clip_id, hit.score) for hit in hits]
        for clip in Store(project).clips()[::every]
        for modality, hits in query_clip(project, clip.clip_id, notes=notes).items()
        if modality in MODALITIES
    }


def raw_and_speakers(project, modality):
    index, values = open_index(project), Store(project).read(f"{modality}_emotion")
    raw = np.stack([np.asarray(values[c.clip_id], np.float32) for c in index.clips])
    return raw, [clip.speaker for clip in index.clips]


@pytest.mark.parametrize(
    ("scene", "text"),
    [PAIRS[0], *(pytest.param(*pair, marks=pytest.mark.slow) for pair in PAIRS[1:])],
)
def test_batches_in_any_order_answer_like_an_index_made_at_once(root, tmp_path, scene, text):
    settle(root, scene=scene, text=text)
    found = []
    for number, order in enumerate(((2, 3), (3, 2), ())):
        copy = shutil.copytree(root, tmp_path / f"copy-{number}")
        library = list(SOURCES[:2])
        if order:
            build_index(open_project(copy))
        for add in order:
            library.append(SOURCES[add])
            assert build_index(train_on(copy, library)).fresh
        project = train_on(copy, SOURCES[:4])
        build_index(project)
        found.append(answers(project, every=3))
        spaces = current_build(project).spaces
        assert set(spaces) == {"scene", "text"}  # no clip has a face to fit on
    assert found[0] == found[1] == found[2]
    assert sum(map(len, found[0].values())) > 35


def test_a_changed_library_is_fitted_again_where_it_is_fitted_at_all(root):
    project = settle(root, text="whiten")
    build_index(project)
    before = current_build(project)
    project = train_on(root, SOURCES[:3])
    build_index(project)
    after = current_build(project)
    assert after.spaces["text"] != before.spaces["text"]
    assert not set(after.segments["text"]) & set(before.segments["text"])
    assert after.segments["scene"][0] == before.segments["scene"][0]  # kept, one was added
    assert [len(after.segments[m]) for m in ("scene", "text")] == [2, 1]


def test_transforms_see_the_library_and_no_held_out_clip(root):
    project = settle(root, scene="whiten", text="lda")
    build_index(project)
    build, spaces = current_build(project).build, current_build(project).spaces
    labels = root / "footage" / "emotions.csv"
    rows = [
        row.rsplit(",", 1)[0] + ",fear" if row.split(".")[0] in SOURCES[2:] else row
        for row in labels.read_text().splitlines()
    ]
    labels.write_text("\n".join(rows) + "\n")
    project = train_on(root, SOURCES[:2])
    assert sum(clip.emotion == "fear" for clip in Store(project).clips()) == 9
    assert not build_index(project).fresh
    assert (current_build(project).build, current_build(project).spaces) == (build, spaces)


def test_identity_is_stored_nowhere_and_answers_with_the_vectors_as_they_are(root):
    project = open_project(root)
    build_index(project)
    record, index = current_build(project), open_index(project)
    assert record.spaces == {}
    folder = root / "index" / "library" / record.build
    assert sorted(path.name for path in folder.iterdir()) == [
        "audio.npy",
        "audio_transform.npz",
        "clips.parquet",
    ]
    for modality in ("scene", "text"):
        own = index.modalities[modality]
        raw, speakers = raw_and_speakers(project, modality)
        assert own.transform is None
        assert own.transformed(raw, speakers) is raw
        np.testing.assert_array_equal(own.backend.raw, raw)
        np.testing.assert_array_equal(index.vectors[modality], raw)
    said = settle(root, scene="identity", face="identity", text="identity")
    assert not build_index(said).fresh  # the defaults, spelled out


@pytest.mark.parametrize(("scene", "text"), PAIRS)
def test_every_library_clip_is_most_like_itself_and_models_are_given_what_was_extracted(
    root, scene, text
):
    project = settle(root, scene=scene, text=text)
    build_index(project)
    index = open_index(project)
    for modality in ("scene", "text"):
        own = index.modalities[modality]
        raw, speakers = raw_and_speakers(project, modality)
        np.testing.assert_array_equal(index.vectors[modality], raw[own.rows])
        queries = own.transformed(raw, speakers)[own.rows]
        np.testing.assert_array_equal(own.backend.raw, queries)
        chosen = search(
            own,
            index.table,
            Policy(exclude_self=False),
            queries,
            [ClipFacts.of(index.clips[row]) for row in own.rows],
            Selection(k=len(own.rows)),
        )
        for row, hits, scores in zip(own.rows, chosen.rows, chosen.scores, strict=True):
            assert scores[0] == pytest.approx(1.0, abs=1e-6)
            assert scores[hits.tolist().index(row)] == pytest.approx(1.0, abs=1e-6)


def test_scores_are_those_of_vectors_transformed_by_hand(root):
    project = settle(root, scene="speaker_zscore", text="whiten")
    build_index(project)
    index, found = open_index(project), answers(project)
    clips = {clip.clip_id: clip for clip in Store(project).clips()}
    values = {m: Store(project).read(f"{m}_emotion") for m in ("scene", "text")}
    raw, speakers = raw_and_speakers(project, "scene")
    scene = SpeakerZScore.fit(raw, speakers)
    halves = raw_and_speakers(project, "text")[0].reshape(len(index.clips), 2, -1)
    text = [Whiten.fit(halves[:, h], speakers) for h in (0, 1)]

    def cosine(one, other):
        return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))

    def moved(clip_id):
        who = [clips[clip_id].speaker]
        line = np.asarray(values["text"][clip_id]).reshape(2, 1, -1)
        seen = scene.apply(np.asarray(values["scene"][clip_id])[None], who)[0]
        return seen, *(text[h].apply(line[h], who)[0] for h in (0, 1))

    checked = 0
    for (clip_id, modality), hits in found.items():
        for hit, score in hits:
            mine, theirs = moved(clip_id), moved(hit)
            if modality == "scene":
                assert score == pytest.approx(cosine(mine[0], theirs[0]), abs=1e-5)
            else:
                mean = (cosine(mine[1], theirs[1]) + cosine(mine[2], theirs[2])) / 2
                assert score == pytest.approx(mean, abs=1e-5)
            checked += 1
    assert checked > 100


def test_a_stored_transform_that_is_not_the_committed_one_is_refused_and_made_again(root):
    project = settle(root, scene="whiten")
    build_index(project)
    (path,) = records_of_builds(project)
    right = answers(project, every=3)
    record = json.loads(path.read_text())
    whole = path.read_text()
    record["spaces"]["scene"] = "0" * 64
    del record["digest"]
    record["digest"] = digest_of(record, digits=64)
    path.write_text(json.dumps(record))
    with pytest.raises(IntegrityError, match="transforms are not those"):
        open_index(project)
    path.write_text(whole)
    file = root / "index" / "library" / record["build"] / "scene_transform.npz"
    file.write_bytes(file.read_bytes()[:-9])
    assert not verify_index(project).is_whole
    with pytest.raises(IntegrityError):
        open_index(project)
    assert build_index(project).fresh
    assert answers(project, every=3) == right


def test_a_build_of_an_earlier_redub_is_rebuilt_and_never_crashes(root):
    project = open_project(root)
    build_index(project)
    right = answers(project, every=3)
    (path,) = records_of_builds(project)
    record = json.loads(path.read_text())
    del record["digest"], record["spaces"]
    for modality in MODALITIES:
        del record["document"]["config"][f"{modality}_transform"]
    old = digest_of(record["document"])
    shutil.move(root / "index" / "library" / record["build"], root / "index" / "library" / old)
    record["files"][f"library/{old}"] = record["files"].pop(f"library/{record['build']}")
    record["build"] = old
    record["digest"] = digest_of(record, digits=64)
    path.write_text(json.dumps(record))
    with pytest.raises(ConfigError, match="redub index build"):
        open_index(project)
    assert index_stats(project).modalities[0].transform == "identity"
    assert build_index(project).fresh
    segments = {m: list(names) for m, names in current_build(project).segments.items()}
    assert segments == record["segments"]  # nothing was indexed again
    assert answers(project, every=3) == right


def test_settings_make_builds_and_answers_differ_exactly_when_they_differ(root):
    keys = {}
    for name in ("identity", "speaker_zscore", "whiten", "lda"):
        project = settle(root, scene=name)
        build_index(project)
        keys[name] = retrieval_key(project, open_index(project))
    assert len(set(keys.values())) == 4
    project = settle(root, scene="whiten")
    build_index(project)
    assert retrieval_key(project, open_index(project)) == keys["whiten"]


def test_pages_figures_and_checks_name_the_transform_and_agree_with_it(root):
    project = settle(root, scene="speaker_zscore", text="whiten")
    build_index(project)
    retrieve(project)
    stats = {own.modality: own.transform for own in index_stats(project).modalities}
    assert stats == {"scene": "speaker_zscore", "face": "identity", "text": "whiten of each half"}
    assert any("transform whiten of each half" in line for line in index_stats(project).lines())
    report = verify_index(project)
    assert report.is_right
    assert [(own.modality, own.wrong_scores) for own in report.asked_again if own.queries] == [
        ("scene", 0),
        ("text", 0),
    ]
    drawn = emotion_map(project, modality="text", media="none", count=0)
    assert drawn.similarity == (
        "mean cosine of both halves of text_emotion after whiten of each half"
    )
    clip_id = open_index(project).clips[0].clip_id
    sheet = {own.modality: own.similarity for own in casting_sheet(project, clip_id).modalities}
    assert sheet["scene"] == "cosine of scene_emotion after speaker_zscore"
    assert sheet["face"] == "cosine of face_emotion"


def test_an_audit_searches_again_in_the_transformed_space(root):
    train_on(root, SOURCES[:4])
    project = settle(root, scene="speaker_zscore", text="whiten")
    settings = root / "redub.toml"
    settings.write_text(settings.read_text().replace("k = 9", "k = 2"))
    project = open_project(root)
    build_index(project)
    retrieve(project)
    (kind,) = (own for own in audit_index(project).kinds if own.kind == "same_scene")
    loose = answers(project)
    settings.write_text(settings.read_text() + "exclude_same_scene = true\n")
    strict = answers(open_project(root))
    clips = {clip.clip_id: clip for clip in Store(project).clips()}
    assert [effect.modality for effect in kind.effects] == ["scene"]  # scenes share their lines
    for effect in kind.effects:
        concerned = [
            clip_id
            for (clip_id, modality), hits in loose.items()
            if modality == effect.modality
            and any(clips[hit].scene == clips[clip_id].scene for hit, _ in hits)
        ]
        without = [
            clips[hit].emotion == clips[clip_id].emotion
            for clip_id in concerned
            for hit, _ in strict[clip_id, effect.modality]
        ]
        assert len(without) > 4
        assert (effect.without.hits, effect.without.of) == (sum(without), len(without))


def test_a_note_that_wants_a_clip_turns_the_transformed_query_to_it(root):
    project = settle(root, scene="whiten", text="whiten")
    build_index(project)
    index = open_index(project)
    asking = next(c.clip_id for c in Store(project).clips() if c.split == "test")
    for wanted in (clip.clip_id for clip in index.clips):
        plain = dict(answers_of(project, asking, Notes()))
        noted = dict(answers_of(project, asking, Notes.parse(like=[wanted])))
        assert noted[wanted] >= plain[wanted] - 1e-6


def answers_of(project, clip_id, notes):
    hits = query_clip(project, clip_id, modality="scene", notes=notes)["scene"]
    return [(hit.clip_id, hit.score) for hit in hits]


def test_lda_without_two_labels_is_refused_with_what_to_set(root):
    (root / "footage" / "emotions.csv").unlink()
    settle(root, scene="lda")
    project = train_on(root, SOURCES[:2])
    with pytest.raises(ConfigError, match=r"scene_transform is 'lda'.*0 different labels"):
        build_index(project)
    assert current_build(project) is None


def test_an_unknown_transform_is_refused_by_name(root):
    with pytest.raises(ConfigError, match=r"index.text_transform.*whiten"):
        settle(root, text="whitten")


# -- planted


def planted(project, vectors, **settings):
    """Made clips with given (n, D) face vectors; ``ann`` and ``bob`` take turns."""
    config = dataclasses.replace(project.config.index, **settings)
    clip = Store(project).clips()[0]
    clips = [
        dataclasses.replace(clip, clip_id=f"c{n}", speaker=("ann", "bob")[n % 2], split="train",
                            source_digest="", start_frame=9 * n, end_frame=9 * n + 9)
        for n in range(len(vectors))
    ]  # fmt: skip
    return config, clips, {f"c{n}": row.astype(np.float32) for n, row in enumerate(vectors)}


# Whole numbers, so that the mean (5, 7, 9) of all is exactly the first of them.
AROUND_THE_FIRST = np.array([5, 7, 9]) + np.array(
    [[0, 0, 0], [2, 0, 1], [-2, 0, -1], [0, 3, 0], [0, -3, 0]]
)


def test_a_clip_without_a_direction_is_not_indexed_and_retrieves_nothing(root):
    project = open_project(root)
    config, clips, vectors = planted(project, AROUND_THE_FIRST, face_transform="whiten")
    space = fit_space(config, "face", clips, vectors)
    assert space.rows.tolist() == [1, 2, 3, 4]
    np.testing.assert_array_equal(space.raw, AROUND_THE_FIRST[1:])
    np.testing.assert_array_equal(space.raw_of(np.array([2, 4])), AROUND_THE_FIRST[[2, 4]])
    table = LibraryTable.from_clips(clips)
    moved = space.transform.apply(space.raw, [clips[row].speaker for row in space.rows])
    own = dataclasses.replace(
        ModalityIndex.build("face", table, moved, space.rows), transform=space.transform
    )
    index = OpenIndex("made", tuple(clips), table, {"face": own}, moved, {"face": space})
    np.testing.assert_array_equal(index.vectors["face"], space.raw)
    rows = neighbour_rows(index, project, "face", clips, vectors, k=2).to_pylist()
    assert sorted({row["clip_id"] for row in rows}) == ["c1", "c2", "c3", "c4"]
    assert "c0" not in {row["hit"] for row in rows}
    assert not neighbour_rows(
        index, project, "face", clips[:1], vectors, notes=Notes.parse(like=["c1"])
    ).num_rows
    metric_takes_any = dataclasses.replace(config, metric="negative_euclidean")
    assert len(fit_space(metric_takes_any, "face", clips, vectors).rows) == 5


def test_vectors_that_are_all_the_same_are_refused_with_what_to_set(root):
    for name, said in (("speaker_zscore", "takes away all"), ("whiten", "all vectors are the")):
        config, clips, vectors = planted(open_project(root), np.ones((4, 3)), face_transform=name)
        with pytest.raises(ConfigError, match=said) as refusal:
            fit_space(config, "face", clips, vectors)
        assert "'identity'" in refusal.value.message


def test_text_is_two_halves_where_the_score_is_a_mean_of_cosines_only(root):
    for metric, name in (("cosine", "halves"), ("dot", "whiten")):
        vectors = np.random.default_rng(3).normal(size=(6, 4))
        config, clips, vectors = planted(
            open_project(root), vectors, text_transform="whiten", metric=metric
        )
        (step,) = fit_space(config, "text", clips, vectors).transform.steps
        assert step.name == name


def test_who_speaks_is_part_of_a_space(root):
    vectors = np.random.default_rng(3).normal(size=(6, 4))
    vectors[3] = vectors[0]
    config, clips, vectors = planted(open_project(root), vectors, face_transform="speaker_zscore")
    swapped = list(clips)
    swapped[0], swapped[3] = (
        dataclasses.replace(clips[n], speaker=clips[3 - n].speaker) for n in (0, 3)
    )
    one, other = (fit_space(config, "face", given, vectors) for given in (clips, swapped))
    # What was fitted is the same; what the two clips become is not.
    assert fitted_digest(one.transform) == fitted_digest(other.transform)
    row = vectors["c0"][None]
    assert not np.array_equal(one.transform.apply(row, ["ann"]), one.transform.apply(row, ["bob"]))
    assert one.digest != other.digest


def test_without_vectors_nothing_is_fitted(root):
    config, clips, _ = planted(open_project(root), np.eye(3), face_transform="whiten")
    assert fit_space(config, "face", clips, {}) is None
