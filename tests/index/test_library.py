"""Tables, modalities, retrieval: planted neighbours, planted leaks, saved and read again."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redub.core.errors import ConfigError
from redub.core.types import Clip
from redub.index.base import IndexInputError
from redub.index.library import LibraryTable, ModalityIndex, retrieve
from redub.index.policy import ClipFacts, Policy
from redub.index.registry import BuildSettings
from redub.index.selection import Selection


def clips_of(count, *, lines_per_scene=10, seed=0):
    """``count`` clips in scenes of ten lines, two speakers taking turns, every 9th held out."""
    order = np.random.default_rng(seed).permutation(count)
    return [
        Clip(
            clip_id=f"clip-{i:05d}",
            source="film.mp4",
            source_digest=f"digest-{i // 100}",
            start_frame=50 * i,
            end_frame=50 * i + 40,
            film=f"film-{i // 100}",
            scene=f"scene-{i // lines_per_scene}",
            position=int(i % lines_per_scene),
            speaker=f"speaker-{i % 2}",
            split="test" if i % 9 == 0 else "train",
        )
        for i in order
    ]


def vectors_of(table, width=8, seed=0):
    """One vector per clip, drawn by its id alone."""
    rows = []
    for clip_id in table.clip_id.tolist():
        draw = np.random.default_rng([seed, *clip_id.encode()])
        rows.append(draw.normal(size=width))
    return np.array(rows, dtype=np.float32).reshape(len(table), width)


def whole_index(table, vectors, *, backend="auto", metric="cosine", **options):
    settings = BuildSettings(backend=backend, metric=metric)
    return ModalityIndex.build(
        "scene", table, vectors, np.arange(len(table)), settings=settings, **options
    )


def test_a_table_is_sorted_by_clip_id_whatever_the_order_of_the_clips():
    table = LibraryTable.from_clips(clips_of(250))
    assert table.clip_id.tolist() == sorted(table.clip_id.tolist())
    assert table.facts(7).start_frame == 350
    assert LibraryTable.from_clips(clips_of(250, seed=1)).digest() == table.digest()
    assert LibraryTable.from_clips(clips_of(249)).digest() != table.digest()


@pytest.mark.parametrize("field", ["film", "split", "speaker", "start_frame", "source_digest"])
def test_every_fact_a_policy_reads_is_in_the_digest(field):
    one, *rest = clips_of(5)
    changed = dataclasses.replace(one, **{field: 7 if field == "start_frame" else "changed"})
    before = LibraryTable.from_clips([one, *rest]).digest()
    assert LibraryTable.from_clips([changed, *rest]).digest() != before


def test_a_clip_id_may_not_come_twice():
    one = clips_of(1)
    with pytest.raises(ConfigError, match=r"E-IN-DUPLICATE.*clip-00000"):
        LibraryTable.from_clips(one + one)


@given(st.lists(st.text(max_size=3), unique=True, max_size=6), st.text(max_size=3))
def test_asking_for_a_clip_id_is_asking_every_row(ids, wanted):
    base = clips_of(1)[0]
    table = LibraryTable.from_clips(dataclasses.replace(base, clip_id=i) for i in ids)
    assert table.is_value("clip_id", wanted).tolist() == [i == wanted for i in sorted(ids)]


@pytest.mark.parametrize("backend", ["exact", "hnsw"])
def test_a_clip_never_retrieves_itself_its_copies_or_a_held_out_clip(backend):
    table = LibraryTable.from_clips(clips_of(1200))
    vectors = vectors_of(table)
    # Planted leak: a second cut of clip 10's seconds has the very same vector.
    copy = dataclasses.replace(
        clips_of(1, seed=0)[0], clip_id="copy", start_frame=505, end_frame=530, split="train"
    )
    table = LibraryTable.from_clips([*clips_of(1200), copy])
    vectors = np.vstack([vectors, vectors[10]])
    index = whole_index(table, vectors, backend=backend)
    facts = [table.facts(row) for row in range(1200)]
    hits = retrieve(index, table, Policy(), vectors[:1200], facts, Selection(k=5))
    assert (hits.rows >= 0).all()
    assert (hits.rows != np.arange(1200)[:, None]).all()
    assert (table.split[hits.rows] == "train").all()
    assert 1200 not in hits.rows[10]
    leaky = retrieve(
        index, table, Policy(exclude_self=False), vectors[:20], facts[:20], Selection(k=2)
    )
    assert leaky.rows[10].tolist() == [10, 1200]  # equal scores: the lower clip id first


@pytest.mark.parametrize("backend", ["exact", "hnsw"])
def test_lines_of_the_same_scene_are_left_out_on_demand(backend):
    table = LibraryTable.from_clips(clips_of(1000))
    vectors = vectors_of(table)
    scene = np.arange(1000) // 10
    vectors += 5 * vectors_of(table, seed=1)[scene]  # planted: a scene is its own neighbourhood
    index = whole_index(table, vectors, backend=backend)
    facts = [table.facts(row) for row in range(1000)]
    plain = retrieve(index, table, Policy(), vectors, facts, Selection(k=3))
    strict = retrieve(index, table, Policy(exclude_same_scene=True), vectors, facts, Selection(k=3))
    assert (scene[plain.rows] == scene[:, None]).mean() > 0.9
    assert (scene[strict.rows] != scene[:, None]).all()


def test_retrieval_is_ten_obvious_lines():
    table = LibraryTable.from_clips(clips_of(300))
    vectors = vectors_of(table)
    policy = Policy(speaker="other", exclude_same_scene=True)
    facts = [table.facts(row) for row in range(0, 300, 7)]
    hits = retrieve(whole_index(table, vectors), table, policy, vectors[::7], facts, Selection(k=4))
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for i, fact in enumerate(facts):
        may = [
            row
            for row in range(300)
            if row % 9  # train
            and row // 10 != 7 * i // 10  # another scene
            and table.speaker[row] not in ("", fact.speaker)
        ]
        best = sorted(may, key=lambda row, i=i: -float(units[row] @ units[7 * i]))[:4]
        assert hits.rows[i].tolist() == best


def test_rows_without_a_vector_are_never_retrieved_and_hits_name_table_rows():
    table = LibraryTable.from_clips(clips_of(60))
    vectors = vectors_of(table)
    has_face = np.arange(60) % 4 == 1
    index = ModalityIndex.build("face", table, vectors[has_face], np.flatnonzero(has_face))
    facts = [table.facts(row) for row in range(60)]
    hits = retrieve(index, table, Policy(), vectors, facts, Selection(k=100))
    found = hits.rows >= 0
    assert has_face[hits.rows[found]].all()
    eligible = np.array([[*Policy().eligible(fact, table)] for fact in facts])
    np.testing.assert_array_equal(found.sum(axis=1), (eligible & has_face).sum(axis=1))


@pytest.mark.parametrize("backend", ["exact", "hnsw"])
def test_ties_break_by_clip_id_wherever_the_clips_stood(backend):
    vectors = np.ones((50, 4), dtype=np.float32)
    for seed in (0, 1):
        table = LibraryTable.from_clips(clips_of(50, seed=seed))
        index = whole_index(table, vectors, backend=backend)
        query = ClipFacts.of(dataclasses.replace(clips_of(1)[0], clip_id="?", source_digest="?"))
        hits = retrieve(index, table, Policy(), vectors[:1], [query], Selection(k=3))
        assert table.clip_id[hits.rows[0]].tolist() == ["clip-00001", "clip-00002", "clip-00003"]


def test_an_irrelevant_clip_changes_no_hits():
    clips = clips_of(200)
    facts = [ClipFacts.of(clip) for clip in clips[:30]]
    answers = []
    for extra in ([], [dataclasses.replace(clips[0], clip_id="aaa", split="test")]):
        table = LibraryTable.from_clips(clips + extra)
        vectors = vectors_of(table)
        rows = np.searchsorted(table.clip_id, np.array([f.clip_id for f in facts], dtype="T"))
        hits = retrieve(
            whole_index(table, vectors), table, Policy(), vectors[rows], facts, Selection(k=5)
        )
        answers.append((table.clip_id[hits.rows].tolist(), hits.scores.tolist()))
    assert answers[0] == answers[1]


def test_blocks_of_queries_do_not_change_the_answer(monkeypatch):
    table = LibraryTable.from_clips(clips_of(100))
    vectors, facts = vectors_of(table), [table.facts(row) for row in range(100)]
    index = whole_index(table, vectors)
    whole = retrieve(index, table, Policy(), vectors, facts, Selection(k=3))
    monkeypatch.setattr("redub.index.library.MASK_BYTES", 700)
    parts = retrieve(index, table, Policy(), vectors, facts, Selection(k=3))
    np.testing.assert_array_equal(parts.rows, whole.rows)
    np.testing.assert_array_equal(parts.scores, whole.scores)


def test_halves_score_by_the_mean_of_two_cosines():
    table = LibraryTable.from_clips(clips_of(80))
    vectors = vectors_of(table, width=12)
    vectors[:, :6] *= 50
    index = whole_index(table, vectors, halves=True)
    query = vectors_of(table, width=12, seed=3)[:1]

    def cosines(half):
        one, all_rows = query[:, half], vectors[:, half]
        return (all_rows @ one[0]) / np.linalg.norm(all_rows, axis=1) / np.linalg.norm(one)

    mean = (cosines(slice(0, 6)) + cosines(slice(6, 12))) / 2
    hits = index.search(query, 80)
    np.testing.assert_allclose(hits.scores[0], mean[hits.rows[0]], atol=1e-6)
    assert hits.rows[0, 0] == np.argmax(mean)
    with pytest.raises(ConfigError, match="mean of cosines"):
        whole_index(table, vectors, halves=True, metric="dot")


@pytest.mark.parametrize("rows", [[0, 1], [2, 1, 0], [0, 0, 1], [-1, 0, 1], [0, 1, 99]], ids=str)
def test_rows_that_are_not_ascending_table_rows_are_refused(rows):
    table = LibraryTable.from_clips(clips_of(5))
    with pytest.raises(IndexInputError):
        ModalityIndex.build("face", table, vectors_of(table)[:3], np.array(rows))


def test_an_empty_modality_answers_with_nothing():
    table = LibraryTable.from_clips(clips_of(4))
    none = np.array([], dtype=np.int64)
    index = ModalityIndex.build("face", table, np.empty((0, 8), np.float32), none)
    facts = [table.facts(0)]
    hits = retrieve(index, table, Policy(), vectors_of(table)[:1], facts, Selection(k=3))
    assert hits.rows.tolist() == [[-1, -1, -1]]


def test_one_fact_per_query_is_needed():
    table = LibraryTable.from_clips(clips_of(4))
    index = whole_index(table, vectors_of(table))
    with pytest.raises(IndexInputError, match="2 query vectors for 1 clips"):
        retrieve(index, table, Policy(), vectors_of(table)[:2], [table.facts(0)], Selection(k=3))
