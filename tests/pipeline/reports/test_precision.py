"""Precision@K: planted clusters, chance, a plain-Python oracle; held-out labels come last."""

import dataclasses
import math
import types

import numpy as np
import pytest
from typer.testing import CliRunner

from redub.cli import app
from redub.core.errors import ConfigError, UsageError
from redub.core.types import Clip
from redub.pipeline.reports.index import precision
from redub.pipeline.reports.index import precision_table as module
from redub.pipeline.reports.index.precision import emotion_precision
from redub.pipeline.reports.index.precision_table import counted, precision_table, query_hits_of
from redub.pipeline.store.settings import IndexConfig
from tests.json_schema import checked

FEELINGS = ("happy", "sad", "angry", "fear")
WIDTH = 8


def clip(number, *, split, emotion, speaker, scene):
    return Clip(
        clip_id=f"c{number:03d}",
        source=f"{scene}.mp4",
        source_digest=f"digest {scene}",
        start_frame=20 * number,
        end_frame=20 * number + 20,
        film="film",
        scene=scene,
        position=number,
        speaker=speaker,
        split=split,
        emotion=emotion,
    )


def cast(*, library=48, held_out=16, own_scene=False):
    """Clips in scenes of four; every emotion has as many clips, both speakers feel all of them."""
    clips = []
    for number in range(library + held_out):
        is_library = number < library
        scene = f"scene {number // 4}" if not (own_scene and number % 4 == 0) else "shared"
        clips.append(
            clip(
                number,
                split="train" if is_library else ("test", "validation")[number % 2],
                emotion=FEELINGS[(number + number // 8) % 4],
                speaker=("ann", "bob")[number % 8 // 4],
                scene=scene,
            )
        )
    return clips


def clustered(clips, *, spread, seed=0):
    """Vectors around one far point per emotion, in both halves."""
    draw = np.random.default_rng(seed)
    centres = {
        emotion_target: 10.0 * np.tile(np.eye(4)[n], 2) for n, emotion_target in enumerate(FEELINGS)
    }
    return {
        c.clip_id: (centres[c.emotion] + spread * draw.normal(size=WIDTH)).astype(np.float32)
        for c in clips
    }


@pytest.fixture
def project_of(monkeypatch):
    """A project whose store holds just these clips, and the same vectors in every modality."""

    def make(clips, vectors, **index):
        store = types.SimpleNamespace(
            clips=lambda: list(clips),
            read=lambda name, ids: {i: vectors[i] for i in ids if i in vectors},
        )
        library = sorted((c for c in clips if c.split == "train"), key=lambda c: c.clip_id)
        monkeypatch.setattr(module, "Store", lambda _: store)
        monkeypatch.setattr(module, "library_of", lambda _: library)
        config = types.SimpleNamespace(index=IndexConfig(audio_transform="identity", **index))
        return types.SimpleNamespace(config=config)

    return make


def test_perfectly_clustered_vectors_are_always_right(project_of):
    clips = cast()
    table = precision_table(project_of(clips, clustered(clips, spread=0.1)))
    # 4 modalities x (3 similarities, text 4) x 3 scopes
    assert len(table.rows) == (3 * 3 + 4) * 3
    for row in table.rows:
        most = 6 if row.scope != "any" else 12  # clips of one emotion that may answer
        for cell in row.cells:
            assert cell.queries == 16
            assert cell.precision == pytest.approx(min(1.0, most / cell.k))
            assert cell.ceiling == pytest.approx(cell.precision)
            assert cell.chance == pytest.approx(0.25)
            if cell.k <= most:
                assert (cell.low, cell.high) == (1.0, 1.0)


def test_vectors_that_know_nothing_are_right_by_chance(project_of):
    clips = cast(library=400, held_out=400)
    draw = np.random.default_rng(5)
    vectors = {c.clip_id: draw.normal(size=WIDTH).astype(np.float32) for c in clips}
    table = precision_table(project_of(clips, vectors), modality="scene", scope="any", k=10)
    for row in table.rows:
        (cell,) = row.cells
        assert cell.chance == pytest.approx(0.25)
        assert cell.precision == pytest.approx(0.25, abs=0.04)  # 4 deviations of 4000 draws: 0.027
        assert cell.low < 0.27
        assert cell.high > 0.23


@pytest.mark.parametrize("similarity", ["cosine", "dot", "negative_euclidean", "halves"])
@pytest.mark.parametrize("scope", ["any", "same", "other"])
def test_a_table_is_that_of_a_plain_python_count(project_of, similarity, scope):
    clips = cast(library=20, held_out=8)
    clips[2] = dataclasses.replace(clips[2], emotion="")  # unlabelled library: no answer
    clips[21] = dataclasses.replace(clips[21], emotion="")  # unlabelled line: does not ask
    clips[22] = dataclasses.replace(clips[22], speaker="stranger")
    draw = np.random.default_rng(11)
    vectors = {c.clip_id: draw.normal(size=WIDTH).astype(np.float32) for c in clips}
    del vectors["c003"], vectors["c023"]
    found = precision_table(
        project_of(clips, vectors), modality="text", similarity=similarity, scope=scope
    )
    (row,) = found.rows

    def cosine(one, other):
        dot = sum(float(a) * float(b) for a, b in zip(one, other, strict=True))
        return dot / math.hypot(*map(float, one)) / math.hypot(*map(float, other))

    def alike(one, other):
        if similarity == "cosine":
            return cosine(one, other)
        if similarity == "halves":
            return (cosine(one[:4], other[:4]) + cosine(one[4:], other[4:])) / 2
        if similarity == "dot":
            return sum(float(a) * float(b) for a, b in zip(one, other, strict=True))
        return -math.dist(list(map(float, one)), list(map(float, other)))

    def may(line, other):
        if other.split != "train" or not other.emotion or other.clip_id not in vectors:
            return False
        return scope == "any" or (line.speaker == other.speaker) == (scope == "same")

    lines = [c for c in clips if c.split != "train" and c.emotion and c.clip_id in vectors]
    assert len(lines) == 6
    for cell in row.cells:
        shares, by_chance, most = [], [], []
        for line in lines:
            eligible = [c for c in clips if may(line, c)]
            mine = vectors[line.clip_id]
            eligible.sort(key=lambda c, mine=mine: -alike(mine, vectors[c.clip_id]))
            if len(eligible) >= cell.k:
                best = eligible[: cell.k]
                most.append(min(cell.k, sum(c.emotion == line.emotion for c in eligible)) / cell.k)
                shares.append(sum(c.emotion == line.emotion for c in best) / cell.k)
                by_chance.append(sum(c.emotion == line.emotion for c in eligible) / len(eligible))
        assert cell.queries == len(shares)
        if shares:
            assert cell.precision == pytest.approx(sum(shares) / len(shares))
            assert cell.chance == pytest.approx(sum(by_chance) / len(by_chance))
            assert cell.ceiling == pytest.approx(sum(most) / len(most))
        else:
            assert math.isnan(cell.precision)


def test_held_out_labels_are_not_looked_at_before_counting(project_of, monkeypatch):
    clips = cast()
    vectors = clustered(clips, spread=6.0)
    asked, plain = [], module.search

    def spy(*arguments):
        chosen = plain(*arguments)
        asked.append(chosen.rows.tolist())
        return chosen

    monkeypatch.setattr(module, "search", spy)
    other = [
        c if c.split == "train" else dataclasses.replace(c, emotion=FEELINGS[n % 3])
        for n, c in enumerate(clips)
    ]
    tables = [precision_table(project_of(c, vectors), transform="all") for c in (clips, other)]
    half = len(asked) // 2
    assert half > 40
    assert asked[:half] == asked[half:]
    assert tables[0] != tables[1]


def test_lda_is_fitted_on_the_librarys_labels_and_finds_the_feeling(project_of):
    # Feelings differ by 1 along weak axes, and noise along the last two drowns them.
    draw = np.random.default_rng(2)
    clips = [
        dataclasses.replace(c, emotion=FEELINGS[draw.integers(4)])
        for c in cast(library=160, held_out=80)
    ]
    vectors = {
        c.clip_id: np.concatenate(
            [np.eye(4)[FEELINGS.index(c.emotion)] + 0.15 * draw.normal(size=4),
             3.0 * draw.normal(size=2)]
        ).astype(np.float32)
        for c in clips
    }  # fmt: skip
    table = precision_table(
        project_of(clips, vectors), modality="face", similarity="cosine", scope="any",
        transform="all", k=3,
    )  # fmt: skip
    found = {row.transform: row.cells[0].precision for row in table.rows}
    assert list(found) == ["identity", "speaker_zscore", "whiten", "lda"]
    assert found["lda"] > 0.95
    assert found["identity"] < 0.85


def test_blocks_of_lines_make_no_difference(project_of, monkeypatch):
    clips = cast(own_scene=True)
    project = project_of(clips, clustered(clips, spread=6.0))
    whole = precision_table(project, modality="text")
    monkeypatch.setattr(module, "BLOCK_LINES", 3)
    assert precision_table(project, modality="text") == whole


def test_a_modality_without_vectors_of_lines_has_empty_cells(project_of):
    clips = cast()
    vectors = clustered([c for c in clips if c.split == "train"], spread=1.0)
    table = precision_table(project_of(clips, vectors), modality="scene", k=2)
    assert [cell.queries for row in table.rows for cell in row.cells] == [0] * 9
    assert {row[-1] for row in table.cells()} == {"–"}
    with pytest.raises(ConfigError, match="no library clip has a scene"):
        precision_table(project_of(clips, {}), modality="scene")


def test_the_own_scene_is_a_row_of_its_own_only_where_it_changes_who_may_answer(project_of):
    clips = cast(own_scene=True)
    vectors = clustered(clips, spread=6.0)
    table = precision_table(
        project_of(clips, vectors), modality="scene", similarity="cosine", scope="any", k=3
    )
    assert [row.same_scene for row in table.rows] == [True, False]
    assert [row[2] for row in table.cells()] == ["any", "any, other scenes"]
    assert table.notes == ()
    table = precision_table(project_of(cast(), vectors), modality="scene", k=3)
    assert all(row.same_scene for row in table.rows)
    assert "exclude_same_scene has no effect" in table.notes[0]


def test_a_transform_that_cannot_be_fitted_is_a_note_beside_others_and_an_error_alone(project_of):
    clips = [dataclasses.replace(c, emotion="happy") for c in cast()]
    project = project_of(clips, clustered(clips, spread=1.0))
    table = precision_table(
        project, modality="face", similarity="dot", scope="any", transform="all"
    )
    assert [row.transform for row in table.rows] == ["identity", "speaker_zscore", "whiten"]
    assert "face, dot, lda: left out" in table.notes[0]
    with pytest.raises(ConfigError, match="1 different labels"):
        precision_table(project, modality="face", transform="lda")


def test_a_cell_is_counted_by_hand():
    # Two lines of one scene, one of another. The third line has two hits only.
    hits = np.array([[0, 1, 2], [3, 2, 1], [1, 0, -1]])
    is_shared = np.array([[1, 0, 1, 0], [0, 0, 1, 1], [0, 1, 0, 0]], dtype=bool)
    may = np.array([[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 0, 0]], dtype=bool)
    query_hits = query_hits_of(hits, is_shared, may, is_shared)
    assert (query_hits.of.tolist(), query_hits.right.tolist()) == ([3, 4, 2], [2, 2, 1])
    scenes = [("f", "a"), ("f", "a"), ("f", "b")]
    one, two, three = counted(query_hits, scenes, (1, 2, 3))
    assert (one.queries, one.precision) == (3, 1.0)
    assert (two.queries, two.precision) == (3, pytest.approx((1 / 2 + 2 / 2 + 1 / 2) / 3))
    assert (three.queries, three.precision) == (2, pytest.approx((2 / 3 + 2 / 3) / 2))
    assert two.ceiling == pytest.approx((2 / 2 + 2 / 2 + 1 / 2) / 3)
    assert three.ceiling == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert one.chance == pytest.approx((2 / 3 + 1 / 2 + 1 / 2) / 3)
    assert math.isnan(three.low)  # one scene says nothing of how scenes differ
    empty = query_hits_of(hits[:0], is_shared[:0], may[:0], is_shared[:0])
    (none,) = counted(empty, [], (1,))
    assert (none.queries, math.isnan(none.precision)) == (0, True)


@pytest.mark.parametrize(
    "words", [{"modality": "fase"}, {"similarity": "cosin"}, {"scope": "all"}, {"transform": "pca"},
              {"k": 0}],
)  # fmt: skip
def test_an_unknown_word_is_answered_with_the_known_ones(project_of, words):
    with pytest.raises(UsageError):
        precision_table(project_of(cast(), {}), **words)


def test_without_labels_there_is_nothing_to_count(project_of):
    clips = [dataclasses.replace(c, emotion="") for c in cast()]
    with pytest.raises(ConfigError, match=r"emotions\.csv"):
        precision_table(project_of(clips, {}))


# -- one number, every labelled clip asking all others


def test_one_k_of_one_modality_stays_one_number(monkeypatch):
    clips = cast(library=48, held_out=0)
    vectors = clustered(clips, spread=0.01)
    import polars as pl

    frame = pl.DataFrame([dataclasses.asdict(c) for c in clips])
    store = types.SimpleNamespace(clip_frame=lambda: frame, read=lambda name, ids: vectors)
    monkeypatch.setattr(precision, "Store", lambda _: store)
    project = types.SimpleNamespace(config=types.SimpleNamespace(index=IndexConfig()))
    for k in (None, 1, 6):
        report = emotion_precision(project, modality="face", k=k)
        assert (report.k, report.precision) == (3 if k is None else k, 1.0)
    # Of 24 clips by the other speaker 6 feel alike: 8 hits are 6 right ones.
    assert emotion_precision(project, modality="face", k=8).precision == pytest.approx(6 / 8)
    with pytest.raises(UsageError, match="K is 0"):
        emotion_precision(project, k=0)


# -- the command


def test_the_command_prints_a_table_and_its_json(project_of, monkeypatch):
    clips = cast()
    project = project_of(clips, clustered(clips, spread=0.1))
    monkeypatch.setattr("redub.commands.index.project_of", lambda _: project)
    run = CliRunner().invoke(app, ["index", "precision", "--table", "--json", "-k", "3"])
    assert run.exit_code == 0, run.output
    found = checked(run.stdout)
    assert found["schema"] == "redub.index.precision_table/1"
    assert (found["queries"], found["library"], found["scenes"]) == (16, 48, 4)
    assert {row["cells"][0]["precision"] for row in found["rows"]} == {1.0}
    run = CliRunner().invoke(app, ["index", "precision", "--table", "--modality", "text"])
    assert run.exit_code == 0, run.output
    assert "16 labelled held-out lines in 4 scenes" in run.stderr
    assert "K=10" in run.stderr
    assert "100 [100, 100]" in run.stderr
    assert "halves" in run.stderr


@pytest.mark.parametrize("words", [["--fitted", "--table"], ["--transform", "lda"],
                                   ["--similarity", "dot"]])  # fmt: skip
def test_options_of_the_one_way_are_refused_in_the_other(words):
    run = CliRunner().invoke(app, ["index", "precision", *words])
    assert run.exit_code != 0
    assert isinstance(run.exception, UsageError)
