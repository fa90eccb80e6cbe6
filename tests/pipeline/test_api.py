"""The public names, their doctests and the examples, on the small demo project."""

import doctest
import inspect
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import redub
from redub import api, metrics
from redub.core.errors import ConfigError, UsageError
from redub.evaluation.registry import METRICS, metric
from redub.pipeline.store.tables import Store

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def opened(walked):
    return redub.open_project(walked[0])


# -- names


def test_the_public_names_are_these_and_each_is_documented():
    assert redub.__all__ == [
        "Index", "Project", "RedubError", "__version__", "dub", "metrics", "open_project",
    ]  # fmt: skip
    assert set(redub.__all__) <= set(dir(redub))
    for name in redub.__all__:
        assert name == "__version__" or inspect.getdoc(getattr(redub, name)), name
    methods = [m for kind in (redub.Project, redub.Index) for m in vars(kind).items()]
    bare = [n for n, m in methods if not n.startswith("_") and callable(m) and not m.__doc__]
    assert bare == []
    with pytest.raises(AttributeError, match="no attribute 'dup'"):
        redub.dup  # noqa: B018


def test_every_metric_of_the_registry_is_public():
    public = {id(getattr(metrics, name)) for name in metrics.__all__}
    assert [name for name in METRICS if id(metric(name)) not in public] == []
    for name in metrics.__all__:
        assert inspect.getdoc(getattr(metrics, name)), name


def test_importing_redub_loads_none_of_it():
    code = "import redub, sys; print(*[m for m in sys.modules if m.startswith('redub.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("module", [api, metrics], ids=["api", "metrics"])
def test_the_documented_examples_are_true(module, walked):
    finder, runner = doctest.DocTestFinder(exclude_empty=True), doctest.DocTestRunner()
    examples = 0
    for test in finder.find(module, extraglobs={"folder": walked[0]}):
        examples += len(test.examples)
        assert runner.run(test).failed == 0, test.name
    assert examples > 8


# -- what is read is what the store holds


def test_features_are_the_stores_values_in_clip_order(opened, finished):
    store = Store(finished)
    order = [clip.clip_id for clip in store.clips()]
    for name in ("face_emotion", "mel", "scene_caption"):
        frame, values = opened.features(name), store.read(name)
        assert frame["clip_id"].to_list() == [c for c in order if c in set(frame["clip_id"])]
        assert set(frame.filter("valid")["clip_id"]) == set(values) == set(opened.arrays(name))
        assert frame["value"].is_null().to_list() == (~frame["valid"]).to_list()
        for row in frame.filter("valid").head(3).iter_rows(named=True):
            np.testing.assert_array_equal(np.array(row["value"]), values[row["clip_id"]])
            np.testing.assert_array_equal(
                opened.arrays(name)[row["clip_id"]], values[row["clip_id"]]
            )


def test_a_clip_without_a_value_says_why(opened):
    rows = pl.concat(
        opened.features(name).select("valid", "why_not")
        for name in ("face_emotion", "landmarks", "text_emotion")
    )
    assert set(rows["valid"]) == {True, False}
    assert (rows.filter(~pl.col("valid"))["why_not"].str.len_chars() > 0).all()
    assert (rows.filter("valid")["why_not"] == "").all()


def test_a_feature_that_was_not_extracted_has_no_rows(tmp_path):
    (tmp_path / "footage").mkdir()
    (tmp_path / "redub.toml").write_text('name = "empty"\n')
    empty = redub.open_project(tmp_path / "footage")
    assert empty.root == tmp_path
    assert empty.clips().is_empty()
    assert empty.features("mel").columns == ["clip_id", "value", "valid", "why_not"]
    assert empty.features("mel").is_empty()
    assert empty.arrays("mel") == {}
    with pytest.raises(ConfigError, match="did you mean 'face_emotion'"):
        empty.features("face_emotions")
    with pytest.raises(UsageError, match="did you mean 'face'"):
        empty.index("faces")


# -- queries


def test_a_query_by_vector_orders_the_library_as_plain_cosines_do(opened):
    index, vectors = opened.index("face"), opened.arrays("face_emotion")
    clips = opened.clips()
    library = [c for c in clips.filter(split="train")["clip_id"] if c in vectors]
    query = np.random.default_rng(3).normal(size=index.width)

    def cosine(clip):
        v = vectors[clip].astype(float)
        return v @ query / np.linalg.norm(v) / np.linalg.norm(query)

    found = index.query(query, k=5)
    wanted = sorted(library, key=cosine, reverse=True)
    assert found["clip_id"].to_list() == wanted[:5]
    np.testing.assert_allclose(found["score"], [cosine(c) for c in wanted[:5]], atol=1e-5)
    assert found["rank"].to_list() == [1, 2, 3, 4, 5]
    margin = [cosine(c) - cosine(wanted[5]) for c in wanted[:5]]
    np.testing.assert_allclose(found["margin"], margin, atol=1e-5)
    texts = dict(zip(clips["clip_id"], clips["text"], strict=True))
    assert found["text"].to_list() == [texts[c] for c in wanted[:5]]


def test_a_query_by_clip_is_the_commands(opened, walked):
    clip = opened.clips().filter(split="test")["clip_id"][0]
    command = [sys.executable, "-m", "redub", "index", "query", clip, "-C", str(walked[0])]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)["neighbours"]
    for modality, hits in said.items():
        own = opened.index(modality).query(clip)
        assert own["clip_id"].to_list() == [hit["clip_id"] for hit in hits]
        assert own["score"].to_list() == [hit["score"] for hit in hits]


@pytest.mark.parametrize(
    ("query", "options", "message"),
    [
        (lambda width: np.zeros(width + 1), {}, r"shape \(\d+,\); wanted"),
        (lambda width: np.ones((1, width)), {}, r"shape \(1, \d+\); wanted"),
        (lambda width: np.full(width, np.nan), {}, "NaN"),
        (np.zeros, {}, "length below"),
        ("no/such/clip", {}, "unknown clip"),
        ("demo", {"speaker": "RUBY"}, "speaker= belongs to a vector"),
        (np.ones, {"k": 0}, "wanted 1 to 100"),
    ],
)
def test_a_wrong_query_is_refused_with_what_was_wanted(opened, query, options, message):
    index = opened.index("face")
    asked = query(index.width) if callable(query) else query
    with pytest.raises(redub.RedubError, match=message) as refused:
        index.query(asked, **options)
    assert refused.value.exit_code in (2, 4)


# -- examples


def run_example(name, *words):
    command = [sys.executable, "-W", "error::FutureWarning", EXAMPLES / name, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_that_queries_names_the_hits_and_counts_shared_emotions(opened, walked):
    clip = opened.clips().filter(split="test")["clip_id"][1]
    said = run_example("query_the_index.py", walked[0], clip)
    for modality in ("scene", "face", "text"):
        hits = opened.index(modality).query(clip, k=3)
        own = said.partition(f"by {modality}:")[2].split("\n\n")[0]
        assert [line.split()[1] for line in own.splitlines()[1:4]] == hits["clip_id"].to_list()
    assert said.count("share its emotion") == 3


@pytest.mark.slow
def test_the_example_that_reads_features_tells_low_voices_from_high_ones(opened, walked):
    said = run_example("read_features.py", walked[0])
    for speaker in opened.clips()["speaker"].unique():
        assert speaker in said
    valid = opened.features("face_emotion")["valid"]
    assert f"{valid.sum()} of {len(valid)} clips" in said


@pytest.mark.slow
def test_the_example_that_scores_finds_no_fault_with_the_recording_itself(walked):
    dubbed = sorted((walked[0] / "dubbed").glob("*.mp4"))[0]
    recorded = walked[0] / "footage" / dubbed.name
    same, other = (
        run_example("score_a_dub.py", recorded, recorded),
        run_example("score_a_dub.py", recorded, dubbed),
    )
    numbers = [
        [float(line.split()[1].rstrip("%")) for line in said.splitlines()] for said in (same, other)
    ]
    assert numbers[0] == [0.0] * 5
    assert all(n > 0 and math.isfinite(n) for n in numbers[1])


@pytest.mark.slow
def test_the_example_that_dubs_leaves_two_takes_of_which_one_is_higher(opened, walked, tmp_path):
    video = sorted((walked[0] / "dubbed").glob("*.mp4"))[0]
    script = walked[0] / "footage" / video.with_suffix(".srt").name
    output = tmp_path / "take.mp4"
    said = run_example(
        "dub_a_clip.py", walked[0], walked[0] / "footage" / video.name, script, output
    )
    assert said.count("lines in the voice of") == 2
    plain, higher = (
        json.loads((tmp_path / name).read_text())
        for name in ("take.take.json", "take_higher.take.json")
    )
    assert '"pitch"' not in json.dumps(plain)
    assert json.dumps(higher).count(f'"pitch": {2 / 12}') == int(said.split(": ")[-1].split()[0])
    assert (tmp_path / "take_higher.mp4").read_bytes() != output.read_bytes()
