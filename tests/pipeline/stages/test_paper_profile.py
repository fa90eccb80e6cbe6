"""The papers' extractors from footage to a training step, with tiny checkpoints in public layouts.

The features are those that Authentic-Dubber and M2CI-Dubber read; the film is drawn and spoken by
redub. What workers, threads and the doctor make of these networks is slow.
"""

import shutil
from functools import partial

import numpy as np
import pytest
import torch

from redub.features.registry import EXTRACTORS, PROFILES
from redub.footage.demo_film import FilmSpec, make_film
from redub.pipeline.stages.extract import extract
from redub.pipeline.stages.index import build_index
from redub.pipeline.stages.ingest import ingest
from redub.pipeline.stages.retrieve import retrieve
from redub.pipeline.stages.train import RunRequest, train_run
from redub.pipeline.store.project import open_project
from redub.pipeline.store.tables import Store
from redub.pipeline.store.weights import add_weights, read_ledger
from redub.pipeline.work.executor import Scheduler
from tests.features.paper.emonet_files import make_emonet
from tests.features.paper.emotion2vec_files import make_emotion2vec
from tests.features.paper.ge2e_files import make_ge2e
from tests.features.paper.lrw_lips_files import make_lrw_lips
from tests.features.paper.mae_dfer_files import make_mae_dfer
from tests.features.paper.npc_files import make_npc
from tests.features.paper.roberta_emotion_files import make_roberta_emotion
from tests.features.paper.videollama2_files import make_videollama2
from tests.features.paper.wav2vec2_iemocap_files import make_wav2vec2_iemocap
from tests.json_schema import checked
from tests.typed import redub

WEIGHTS = {
    "videollama2": make_videollama2,
    "roberta_emotion": make_roberta_emotion,
    "emotion2vec": make_emotion2vec,
    "mae_dfer": make_mae_dfer,
    "emonet": partial(make_emonet, vector=32),
    "wav2vec2_iemocap": make_wav2vec2_iemocap,
    "npc": make_npc,
    "ge2e": make_ge2e,
    "lrw_lips": make_lrw_lips,
}
AUTHENTIC = ("phonemes", "durations", "mel", "lips", "speaker")
LIBRARY = ("scene_emotion", "face_emotion", "text_emotion", "audio_emotion")
CONTEXT = ("global_face", "local_face", "global_audio", "local_audio", "global_text")
SETTINGS = """
[features]
profile = "paper"

[features.scene_caption]
dtype = "float32"
max_new_tokens = 6

[features.face_caption]
dtype = "float32"
max_new_tokens = 6

[features.local_face]
width = 32

[compute]
device = "cpu"
"""

pytestmark = pytest.mark.slow  # networks of real layout on a whole film


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Three scenes of two lines in one voice, everything extracted in this process."""
    root = tmp_path_factory.mktemp("paper")
    make_film(
        root / "footage", root / "truth", FilmSpec(seed=3, scenes=3, lines_per_scene=2, speakers=1)
    )
    (root / "redub.toml").write_text('name = "paper"\n' + SETTINGS)
    for kind, make in WEIGHTS.items():
        add_weights(root, kind, make(root / "weights" / kind))
    opened = open_project(root)
    ingest(opened, scheduler=Scheduler("sync", 1))
    done = extract(opened, scheduler=Scheduler("sync", 1))
    assert done.quarantined == 0, Store(opened).quarantined().to_dicts()[:3]
    return opened


def test_every_feature_that_the_two_systems_read_is_filled(project):
    store = Store(project)
    clips = {clip.clip_id for clip in store.clips()}
    assert len(clips) == 6
    for name in (*AUTHENTIC, *LIBRARY, *CONTEXT):
        rows = store.live_features(name)
        reasons = rows.filter(~rows["valid"])["why_not"].to_list()
        assert set(rows["clip_id"]) == clips, name
        assert not [why for why in reasons if "ALIGN" not in why], name


def test_values_have_the_stated_shapes_and_differ_from_clip_to_clip(project):
    store = Store(project)
    for name in (*LIBRARY, *CONTEXT, "lips", "speaker"):
        schema = store.keys.by_name[name].schema
        values = list(store.read(name).values())
        assert all(np.asarray(v).shape[-1] == schema.width for v in values), name
        assert all(np.isfinite(np.asarray(v)).all() for v in values), name
        if name not in ("scene_emotion", "face_emotion"):  # a tiny captioner repeats itself
            sums = {round(float(np.abs(np.asarray(v)).sum()), 4) for v in values}
            assert len(sums) > len(values) / 2, name


@pytest.mark.parametrize(("name", "threads"), [("processes", 1), ("sync", 3)])
def test_the_bytes_are_the_same_from_a_worker_and_with_more_threads(
    project, tmp_path, name, threads
):
    root = tmp_path / "paper"
    ours = shutil.ignore_patterns("features", ".redub")
    shutil.copytree(project.root, root, ignore=ours)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        extract(open_project(root), scheduler=Scheduler(name, 1))
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    first, second = (
        {path.relative_to(top): path.read_bytes() for path in sorted(top.rglob("*.parquet"))}
        for top in (project.root / "features", root / "features")
    )
    assert first
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_each_feature_says_who_made_it_and_under_what_terms(project):
    keys = Store(project).keys.by_name
    assert {name: keys[name].document.backend for name in PROFILES["paper"]} == PROFILES["paper"]
    assert keys["local_face"].document.licence == "CC-BY-NC-ND-4.0"
    assert "non-commercial" in keys["scene_caption"].document.terms[0]
    for name in PROFILES["paper"]:
        assert keys[name].document.weights, name
    assert set(keys) == set(EXTRACTORS)


def test_a_training_step_runs_on_them(project):
    build_index(project)
    found = retrieve(project)
    assert found.rows > 0
    done = train_run(project, RunRequest(run="paper", max_steps=1))
    assert done.report.last_step == 1
    assert np.isfinite(done.report.loss)


def test_the_doctor_loads_and_runs_every_entry(project):
    done = redub("doctor", "--weights", "--json", "-C", project.root)
    assert done.returncode == 0, done.stderr
    lines = checked(done.stdout)["weights"]
    assert {line["entry"] for line in lines} == set(read_ledger(project.root).entries)
    assert not [line for line in lines if line["problem"]]
    assert all(line["value"] and "parameters" in line["says"] for line in lines)
