"""The weights ledger and networks in the pipeline: pinned, refused, batched, keyed."""

import json
import os
import shutil

import numpy as np
import pytest
import torch

from redub.core.errors import ConfigError, IntegrityError, ModelRefusedError, UsageError
from redub.features.registry import MAKERS
from redub.pipeline.executor import Scheduler
from redub.pipeline.extract import _EXTRACTORS, extract
from redub.pipeline.ingest import ingest
from redub.pipeline.keys import _KEYS
from redub.pipeline.project import open_project, parse_config, with_profile
from redub.pipeline.store import Store
from redub.pipeline.weights import (
    add_weights,
    checked_folder,
    read_ledger,
    remove_weights,
    verify_weights,
)
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
def test_a_configuration_that_asks_for_code_is_refused(tmp_path, key):
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


@pytest.mark.parametrize(
    "text", ["not json", "[]", '{"format": 1, "weights": {"a": {"x": 1}}}', '{"format": 99}']
)
def test_a_damaged_ledger_is_an_integrity_error(tmp_path, text):
    (tmp_path / "models.lock").write_text(text)
    with pytest.raises(IntegrityError):
        read_ledger(tmp_path)


# -- networks in the pipeline


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A project whose audio emotion is made by the toy network."""
    monkeypatch.setitem(MAKERS, "audio_emotion", {"toy": TOY + "ToyExtractor"})
    monkeypatch.setitem(MAKERS, "scene_caption", {"toy": TOY + "CaptionToy"})
    for table in (_KEYS, _EXTRACTORS):
        table.clear()
    ToyExtractor.passes.clear()
    ToyExtractor.spoilt.clear()
    toml = '[features.audio_emotion]\nby = "toy"\n'
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
    assert key.document["maker"] == "toy"
    assert list(key.document["weights"]["model"]) == ["toy.pt"]
    assert key.document["licence"] == "Apache-2.0"
    assert "torch" in key.document["libraries"]


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
    (small / "redub.toml").write_text(text + '[features.scene_caption]\nby = "toy"\n')
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
    message = refusal("E-MODEL-UNLISTED", lambda: Store(open_project(small)).keys.by_name)
    assert "redub weights add ge2e PATH" in message


def test_unknown_makers_and_profiles_name_the_nearest():
    for text, near in (
        ('[features]\nprofile = "papers"\n', "paper"),
        ('[features.mel]\nby = "bultin"\n', "builtin"),
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
    from redub.features.model_extractor import in_batches

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
