"""The weights ledger and networks in the pipeline: pinned, refused, batched, keyed."""

import json
import os
import shutil

import numpy as np
import pytest
import torch

from redub.core.durable import file_digest
from redub.core.errors import ConfigError, IntegrityError, ModelRefusedError, UsageError
from redub.features.registry import FEATURE_BACKENDS
from redub.pipeline.reports.plan import plan
from redub.pipeline.reports.status import project_status
from redub.pipeline.reports.why import explain_rows
from redub.pipeline.stages.extract import extract
from redub.pipeline.stages.ingest import ingest
from redub.pipeline.store.keys import _KEYS
from redub.pipeline.store.project import open_project, with_profile
from redub.pipeline.store.settings import parse_config
from redub.pipeline.store.tables import Store
from redub.pipeline.store.verify import verify_store
from redub.pipeline.store.weights import (
    add_weights,
    checked_folder,
    read_ledger,
    remove_weights,
    verify_weights,
)
from redub.pipeline.work.executor import Scheduler
from redub.pipeline.work.extraction import _EXTRACTORS
from tests.features.paper.ledgers import Payload
from tests.features.paper.toy import ToyExtractor, make_toy
from tests.pipeline.films import make_project, tree_digest

SYNC = Scheduler("sync", 1)
TOY = "tests.features.paper.toy:"


def refusal(code, function, *arguments, **named):
    with pytest.raises(ModelRefusedError) as caught:
        function(*arguments, **named)
    assert caught.value.code == code
    assert caught.value.exit_code == 8
    return str(caught.value)


# -- the ledger


def test_an_entry_pins_every_wanted_file_and_nothing_else(tmp_path):
    weights = tmp_path / "roberta"
    weights.mkdir()
    for name in ("config.json", "vocab.json"):
        (weights / name).write_text("{}")
    (weights / "model.safetensors").write_bytes(b"tensors")
    (weights / "modeling_evil.py").write_text("boom")
    (weights / "training_args.bin").write_bytes(b"pickle")
    entry = add_weights(tmp_path, "roberta_emotion", weights)
    assert sorted(entry.files) == ["config.json", "model.safetensors", "vocab.json"]
    ledger = read_ledger(tmp_path)
    assert ledger.entries["roberta_emotion"] == entry
    folder = checked_folder(ledger, "roberta_emotion", "roberta_emotion")
    refusal("E-MODEL-FILE", folder.file, "modeling_evil.py")
    with folder.view() as view:
        assert sorted(os.listdir(view)) == sorted(entry.files)


def test_another_digest_in_the_ledger_is_noticed_though_the_file_was_hashed_before(tmp_path):
    weights = make_toy(tmp_path / "w")
    entry = add_weights(tmp_path, "ge2e", weights / "toy.pt")
    checked_folder(read_ledger(tmp_path), "ge2e", "ge2e")
    lock = tmp_path / "models.lock"
    lock.write_text(lock.read_text().replace(entry.files["toy.pt"], "0" * 64))
    ledger = read_ledger(tmp_path)
    assert "toy.pt" in refusal("E-MODEL-CHANGED", checked_folder, ledger, "ge2e", "ge2e")


def test_a_changed_bit_is_refused_and_found_by_verify(tmp_path):
    weights = make_toy(tmp_path / "w")
    add_weights(tmp_path, "ge2e", weights / "toy.pt")
    ledger = read_ledger(tmp_path)
    checked_folder(ledger, "ge2e", "ge2e")
    content = bytearray((weights / "toy.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (weights / "toy.pt").write_bytes(bytes(content))
    assert "toy.pt" in refusal("E-MODEL-CHANGED", checked_folder, ledger, "ge2e", "ge2e")
    [(entry, wrong)] = verify_weights(ledger, ["ge2e"])
    assert entry.name == "ge2e"
    assert "E-MODEL-CHANGED" in wrong[0]


def test_verify_sees_a_change_that_hides_behind_the_old_time(tmp_path):
    weights = make_toy(tmp_path / "w")
    file = weights / "toy.pt"
    add_weights(tmp_path, "ge2e", file)
    before = file.stat()
    with file.open("r+b") as stream:
        stream.seek(100)
        stream.write(b"\xff")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    [(_, wrong)] = verify_weights(read_ledger(tmp_path), ["ge2e"])
    assert wrong


def test_a_missing_file_an_unlisted_entry_and_a_wrong_kind_are_refused(tmp_path):
    weights = make_toy(tmp_path / "w")
    add_weights(tmp_path, "ge2e", weights, name="voices")
    ledger = read_ledger(tmp_path)
    assert "redub weights add ge2e" in refusal(
        "E-MODEL-UNLISTED", checked_folder, ledger, "ge2e", "ge2e"
    )
    refusal("E-MODEL-UNLISTED", checked_folder, ledger, "voices", "npc")
    (weights / "toy.pt").unlink()
    refusal("E-MODEL-FILE", checked_folder, ledger, "voices", "ge2e")


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("toy.pt", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "E-MODEL-LFS"),
        ("toy.pt", b"", "E-MODEL-FILE"),
        ("toy.onnx", b"something", "E-MODEL-FILE"),
    ],
)
def test_what_is_no_weight_file_is_refused_when_added(tmp_path, name, content, code):
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / name).write_bytes(content)
    refusal(code, add_weights, tmp_path, "ge2e", tmp_path / "w")
    assert not (tmp_path / "models.lock").exists()


def test_a_folder_that_is_not_there_is_no_hub_name(tmp_path):
    refusal("E-MODEL-FILE", add_weights, tmp_path, "ge2e", tmp_path / "owner" / "model")


def test_missing_shards_are_named(tmp_path):
    weights = tmp_path / "w"
    weights.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (weights / name).write_text("{}")
    (weights / "model-00001-of-00002.safetensors").write_bytes(b"x")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (weights / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    assert "model-00002-of-00002" in refusal(
        "E-MODEL-FILE", add_weights, tmp_path, "videollama2", weights
    )


@pytest.mark.parametrize("key", ["auto_map", "trust_remote_code", "remote_code"])
def test_a_configuration_that_names_code_is_refused(tmp_path, key):
    weights = tmp_path / "w"
    weights.mkdir()
    (weights / "model.safetensors").write_bytes(b"x")
    (weights / "vocab.json").write_text("{}")
    (weights / "config.json").write_text(json.dumps({"sub": [{key: "modeling.Evil"}]}))
    assert key in refusal("E-MODEL-CODE", add_weights, tmp_path, "roberta_emotion", weights)


def test_other_files_under_an_old_name_need_replace(tmp_path):
    one, other = make_toy(tmp_path / "one"), make_toy(tmp_path / "other", seed=1)
    first = add_weights(tmp_path, "ge2e", one)
    assert add_weights(tmp_path, "ge2e", one) == first
    with pytest.raises(ConfigError, match="--replace"):
        add_weights(tmp_path, "ge2e", other)
    assert read_ledger(tmp_path).entries["ge2e"] == first
    second = add_weights(tmp_path, "ge2e", other, replace=True)
    assert second.files != first.files
    remove_weights(tmp_path, "ge2e")
    assert read_ledger(tmp_path).entries == {}
    with pytest.raises(UsageError):
        remove_weights(tmp_path, "ge2e")


GOOD_LINE = {"kind": "ge2e", "path": "/w", "files": {"x.pt": "0" * 64}}


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        "[]",
        '{"format": 1, "weights": {"a": {"x": 1}}}',
        '{"format": 99}',
        '{"format": "1", "weights": {}}',
        '{"format": NaN, "weights": {}}',
        '{"format": 1, "weights": {"a": {"kind": "ge2e", "files": {}}}}',
        '{"format": ' + "9" * 5000 + "}",
        "[" * 20_000,
        '{"format": 1, "weights": {"a": 3}}',
        *(
            json.dumps({"format": 1, "weights": {"ge2e": {**GOOD_LINE, **change}}})
            for change in (
                {"files": None},
                {"files": ["x.pt"]},
                {"files": {"x.pt": 7}},
                {"files": {"x.pt": "7"}},
                {"path": 3},
                {"kind": None},
                {"licence": 1},
                {"speed": "fast"},
                {"files": {"../x.pt": "0" * 64}},
                {"files": {"/etc/x.pt": "0" * 64}},
            )
        ),
    ],
)
def test_a_damaged_ledger_is_an_integrity_error(tmp_path, text):
    (tmp_path / "models.lock").write_text(text)
    with pytest.raises(IntegrityError):
        read_ledger(tmp_path)


def test_a_good_line_is_read(tmp_path):
    lock = json.dumps({"format": 1, "weights": {"ge2e": GOOD_LINE}})
    (tmp_path / "models.lock").write_text(lock)
    assert read_ledger(tmp_path).entries["ge2e"].files == GOOD_LINE["files"]


@pytest.mark.parametrize("name", ["../x", "a b", "-x", "x" * 65, "x\n", "ü"])
def test_a_name_that_cannot_be_typed_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match="cannot name weights"):
        add_weights(tmp_path, "ge2e", make_toy(tmp_path / "w"), name=name)


def test_of_two_checkpoints_in_a_folder_one_must_be_named(tmp_path):
    weights = make_toy(tmp_path / "w")
    shutil.copy(weights / "toy.pt", weights / "last.pt")
    assert "name the file itself" in refusal("E-MODEL-FILE", add_weights, tmp_path, "ge2e", weights)
    assert list(add_weights(tmp_path, "ge2e", weights / "last.pt").files) == ["last.pt"]


def test_a_moved_folder_is_called_that(tmp_path):
    weights = make_toy(tmp_path / "w")
    add_weights(tmp_path, "ge2e", weights)
    weights.rename(tmp_path / "v")
    message = refusal("E-MODEL-FILE", checked_folder, read_ledger(tmp_path), "ge2e", "ge2e")
    assert "moved" in message
    assert "listed" not in message
    add_weights(tmp_path, "ge2e", tmp_path / "v")  # the same files elsewhere: no --replace
    checked_folder(read_ledger(tmp_path), "ge2e", "ge2e")


def test_a_file_that_is_swapped_while_it_is_hashed_is_hashed_again(tmp_path, monkeypatch):
    weights = make_toy(tmp_path / "w")
    file = weights / "toy.pt"

    def swapping(path):
        found = file_digest(path)
        file.write_bytes(b"other bytes")
        return found

    monkeypatch.setattr("redub.pipeline.store.weights.file_digest", swapping)
    add_weights(tmp_path, "ge2e", weights)
    monkeypatch.undo()
    refusal("E-MODEL-CHANGED", checked_folder, read_ledger(tmp_path), "ge2e", "ge2e")


# -- networks in the pipeline


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A project whose audio emotion is made by the toy network."""
    for feature, toy in (("audio_emotion", "ToyExtractor"), ("scene_caption", "CaptionToy")):
        monkeypatch.setitem(
            FEATURE_BACKENDS, feature, {**FEATURE_BACKENDS[feature], "toy": TOY + toy}
        )
    for table in (_KEYS, _EXTRACTORS):
        table.clear()
    ToyExtractor.passes.clear()
    ToyExtractor.spoilt.clear()
    toml = '[features.audio_emotion]\nbackend = "toy"\n'
    root = make_project(tmp_path / "p", toml=toml)
    (root / "redub.toml").write_text(
        (root / "redub.toml").read_text().replace("shard_clips = 2", "shard_clips = 4")
    )
    add_weights(root, "ge2e", make_toy(tmp_path / "w"))
    ingest(open_project(root), scheduler=SYNC)
    yield root
    for table in (_KEYS, _EXTRACTORS):
        table.clear()


def test_a_network_sees_the_shard_in_batches_and_its_values_are_its_own(small, tmp_path):
    project = open_project(small)
    done = extract(project, scheduler=SYNC, features=["audio_emotion", "mel"])
    assert (done.clips, done.quarantined) == (6, 0)
    assert ToyExtractor.passes == [2, 2, 2]  # shards of 4 and 2 clips in batches of 2
    store = Store(project)
    values, waves = store.read("audio_emotion"), store.read("waveform", None)
    assert not waves  # not asked for
    state = torch.load(tmp_path / "w" / "toy.pt", weights_only=True)
    assert len({tuple(v) for v in values.values()}) == 6
    assert all(v.shape == (4,) for v in values.values())
    assert state["weight"].shape == (4, 3)


def test_a_feature_knows_its_weights_and_their_terms(small):
    key = Store(open_project(small)).keys.by_name["audio_emotion"]
    assert key.document.backend == "toy"
    assert list(key.document.weights["model"]) == ["toy.pt"]
    assert key.document.licence == "Apache-2.0"
    assert "torch" in key.document.libraries


def test_other_weights_make_exactly_the_dependent_rows_stale(small, tmp_path):
    features = ["audio_emotion", "mel"]
    extract(open_project(small), scheduler=SYNC, features=features)
    before = Store(open_project(small)).keys.by_name
    add_weights(small, "ge2e", make_toy(tmp_path / "other", seed=1), replace=True)
    after = Store(open_project(small)).keys.by_name
    changed = {name for name in before if before[name].key != after[name].key}
    assert changed == {"audio_emotion"}
    done = extract(open_project(small), scheduler=SYNC, features=features)
    assert done.rows == 6  # of one feature; the old rows stay under the old key


def test_a_changed_bit_stops_the_stage_before_anything_is_computed(small, tmp_path):
    before = tree_digest(small)
    file = tmp_path / "w" / "toy.pt"
    file.write_bytes(file.read_bytes() + b"\0")
    refusal(
        "E-MODEL-CHANGED", extract, open_project(small), scheduler=SYNC, features=["audio_emotion"]
    )
    assert tree_digest(small) == before


def test_a_pickle_with_code_is_refused_and_did_not_run(small, tmp_path):
    marker = tmp_path / "ran"
    make_toy(tmp_path / "evil", trick=Payload(marker))
    add_weights(small, "ge2e", tmp_path / "evil", replace=True)
    before = tree_digest(small)
    refusal(
        "E-MODEL-CODE", extract, open_project(small), scheduler=SYNC, features=["audio_emotion"]
    )
    assert not marker.exists()
    assert {k for k in tree_digest(small) if "/part-" in k} == {k for k in before if "/part-" in k}


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_another_model_is_refused(small, tmp_path, change):
    folder = make_toy(tmp_path / change)
    state = torch.load(folder / "toy.pt", weights_only=True)
    if change == "missing":
        del state["bias"]
    elif change == "extra":
        state["head.weight"] = torch.zeros(2)
    else:
        state["bias"] = torch.zeros(5)
    torch.save(state, folder / "toy.pt")
    add_weights(small, "ge2e", folder, replace=True)
    code = "E-MODEL-SHAPE" if change == "shape" else "E-MODEL-KEYS"
    refusal(code, extract, open_project(small), scheduler=SYNC, features=["audio_emotion"])


def test_one_bad_input_costs_only_its_own_row(small):
    project = open_project(small)
    bad = Store(project).clips()[1].clip_id
    ToyExtractor.spoilt.add(bad)
    done = extract(project, scheduler=SYNC, features=["audio_emotion", "mel"])
    assert done.quarantined == 1
    assert ToyExtractor.passes[:6] == [2, 1, 1, 1, 1, 2]  # the spoilt shard again, one by one
    values = Store(project).read("audio_emotion")
    assert len(values) == 5
    assert bad not in values
    assert len(Store(project).read("mel")) == 6
    [held] = Store(project).quarantined().to_dicts()
    assert (held["clip_id"], held["feature"]) == (bad, "audio_emotion")
    assert "breaks the network" in held["message"]


def test_a_caption_waits_only_for_readers_that_need_no_picture(small):
    """The builtin scene emotion needs the frames, so the caption cannot wait for a batch."""
    text = (small / "redub.toml").read_text()
    (small / "redub.toml").write_text(text + '[features.scene_caption]\nbackend = "toy"\n')
    project = open_project(small)
    extract(project, scheduler=SYNC, features=["scene_caption"])
    assert ToyExtractor.passes == [2, 2, 2]
    shutil.rmtree(small / "features")
    ToyExtractor.passes.clear()
    extract(project, scheduler=SYNC, features=["scene_emotion"])
    assert ToyExtractor.passes == [1] * 6
    assert len(Store(project).read("scene_emotion")) == 6


def test_without_an_entry_the_sentence_says_what_to_type(small):
    remove_weights(small, "ge2e")
    keys = Store(open_project(small)).keys
    message = refusal("E-MODEL-UNLISTED", keys.by_name.__getitem__, "audio_emotion")
    assert "redub weights add ge2e PATH" in message
    assert {name: str(error) for name, error in keys.lacking.items()} == {"audio_emotion": message}
    assert "audio_emotion" in keys.by_name
    assert "audio_emotion" not in keys.usable


def test_features_whose_weights_are_there_can_be_made_without_the_others(small):
    """One network of the paper profile is recorded; its feature is extracted."""
    before = {n: k.key for n, k in Store(open_project(small)).keys.by_name.items()}
    paper = with_profile(open_project(small), "paper")
    done = extract(paper, scheduler=SYNC, features=["audio_emotion", "mel"])
    assert (done.rows, done.quarantined) == (12, 0)
    keys = Store(paper).keys
    assert {name: keys.by_name[name].key for name in ("audio_emotion", "mel")} == {
        name: before[name] for name in ("audio_emotion", "mel")
    }
    # Captions lack their network, and so does what reads them.
    assert {"scene_caption", "scene_emotion", "lips"} <= keys.lacking.keys()
    assert {"mel", "audio_emotion", "face_track"} <= set(keys.usable)
    message = refusal("E-MODEL-UNLISTED", extract, paper, scheduler=SYNC)
    assert all(name in message for name in keys.lacking)
    refusal("E-MODEL-UNLISTED", extract, paper, scheduler=SYNC, features=["scene_emotion"])


def test_clips_quarantined_under_other_weights_are_tried_again(small, tmp_path):
    bad = Store(open_project(small)).clips()[0].clip_id
    ToyExtractor.spoilt.add(bad)
    first = extract(open_project(small), scheduler=SYNC, features=["audio_emotion"])
    assert (first.rows, first.quarantined) == (5, 1)
    again = extract(open_project(small), scheduler=SYNC, features=["audio_emotion"])
    assert (again.rows, again.quarantined) == (0, 0)  # still held
    ToyExtractor.spoilt.clear()
    add_weights(small, "ge2e", make_toy(tmp_path / "other", seed=1), replace=True)
    assert Store(open_project(small)).quarantined().is_empty()
    mended = extract(open_project(small), scheduler=SYNC, features=["audio_emotion"])
    assert (mended.rows, mended.quarantined) == (6, 0)


def test_rows_stay_readable_and_are_verified_when_their_weights_are_gone(small, monkeypatch):
    project = open_project(small)
    extract(project, scheduler=SYNC, features=["audio_emotion"])
    before = Store(project).read("audio_emotion")
    schema = Store(project).keys.by_name["audio_emotion"].schema

    def moved(self):
        raise ModelRefusedError("the folder is gone", code="E-MODEL-FILE")

    with monkeypatch.context() as patched:
        patched.setattr(ToyExtractor, "schema", property(moved))
        _KEYS.clear()
        store = Store(open_project(small))
        assert store.keys.by_name["audio_emotion"].schema == schema
        assert store.read("audio_emotion").keys() == before.keys()
    remove_weights(small, "ge2e")
    part = next((small / "features" / "audio_emotion").rglob("part-*.parquet"))
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    assert verify_store(open_project(small))[1] == []
    part.write_bytes(bytes(content))
    assert part.name in verify_store(open_project(small))[1][0]


def test_status_plan_and_why_go_round_what_lacks_its_weights(small):
    paper = with_profile(open_project(small), "paper")
    extract(paper, scheduler=SYNC, features=["mel"])
    status = project_status(paper)
    assert "lips" in status.lacking
    assert status.next_words == ["weights", "kinds"]
    assert {line.feature: line.committed for line in status.ledger}["mel"] == 6
    assert "lips" not in {line.feature for line in plan(Store(paper))}
    clip = Store(paper).clips()[0].clip_id
    rows = {row.feature: row for row in explain_rows(paper, clip, None).rows}
    assert rows["mel"].state == "committed"
    assert rows["lips"].state.startswith("cannot be made: ")
    assert verify_store(paper)[1] == []


def test_unknown_backends_and_profiles_name_the_nearest():
    for text, near in (
        ('[features]\nprofile = "papers"\n', "paper"),
        ('[features.mel]\nbackend = "bultin"\n', "builtin"),
        ('profile = "paper"\n', r"\[features\]"),
    ):
        with pytest.raises(ConfigError, match=near):
            parse_config(text)


def test_the_profile_is_a_key_of_the_file_and_a_flag(small):
    project = open_project(small)
    assert project.config.profile == "builtin"
    assert with_profile(project, "paper").config.profile == "paper"
    with pytest.raises(ConfigError, match="paper"):
        with_profile(project, "papper")
    assert parse_config('[features]\nprofile = "paper"\n').profile == "paper"


def test_an_out_of_memory_batch_is_halved_and_stays_halved():
    from redub.features.models.model_extractor import in_batches

    class OutOfMemoryError(RuntimeError):
        pass

    sizes = []

    def compute(items):
        sizes.append(len(items))
        if len(items) > 3:
            raise OutOfMemoryError("CUDA out of memory")
        return [item * 2 for item in items]

    assert in_batches(list(range(10)), compute, 8) == [2 * i for i in range(10)]
    assert sizes == [8, 4, 2, 2, 2, 2, 2]

    def never(items):
        raise OutOfMemoryError("CUDA out of memory")

    with pytest.raises(Exception, match="E-FEAT-MEMORY"):
        in_batches([1, 2], never, 2)


def test_inputs_of_like_size_share_a_batch_and_order_is_kept(tmp_path):
    from tests.features.paper.ledgers import CPU, folder_of
    from tests.features.paper.toy import ToyConfig

    extractor = ToyExtractor(ToyConfig(), {"model": folder_of(make_toy(tmp_path), "ge2e")}, CPU)
    rng = np.random.default_rng(0)
    inputs = [(rng.normal(size=3).astype(np.float32), n, str(n)) for n in (9, 1, 8, 2)]
    values = extractor.compute_all(inputs)
    for value, item in zip(values, inputs, strict=True):
        np.testing.assert_allclose(value, extractor.compute([item])[0], rtol=1e-6)
