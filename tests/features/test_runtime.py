"""The device a network runs on: spelled exactly, there, or a sentence before any clip is blamed."""

import shutil

import pytest
import torch

from redub.core.errors import ConfigError
from redub.features.runtime import Runtime
from redub.pipeline.stages.extract import extract
from redub.pipeline.stages.ingest import ingest
from redub.pipeline.store.keys import _KEYS
from redub.pipeline.store.project import open_project
from redub.pipeline.store.settings import parse_config
from redub.pipeline.store.tables import Store
from redub.pipeline.store.weights import add_weights
from redub.pipeline.work.executor import Scheduler
from redub.pipeline.work.extraction import _EXTRACTORS
from tests.features.paper.ge2e_files import make_ge2e
from tests.pipeline.films import make_project

SYNC = Scheduler("sync", 1)


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:0", "cuda:1", "cuda:12"])
def test_devices_that_can_be_meant_are_taken(device):
    assert parse_config(f'[compute]\ndevice = "{device}"').compute.device == device


@pytest.mark.parametrize(
    "device",
    [
        "", "cuda:", "cudaxyz", "cuda0", "cuda:x", "cuda:-1", "cuda:1 ", "cuda:1\n", "cuda:1:2",
        "cuda:٣", "cuda:9999", "CUDA", "cpu:0", "gpu", "mps", "auto cpu",
    ],
)  # fmt: skip
def test_everything_else_is_refused_when_the_file_is_read(device):
    with pytest.raises(ConfigError, match=r"legal: auto, cpu, cuda, cuda:N") as refusal:
        Runtime(device=device)
    assert (refusal.value.code, refusal.value.exit_code) == ("E-CFG-VALUE", 4)


@pytest.mark.parametrize("wrong", [{"batch": -1}, {"threads": 0}])
def test_numbers_have_the_code_of_wrong_values(wrong):
    with pytest.raises(ConfigError) as refusal:
        Runtime(**wrong)
    assert refusal.value.code == "E-CFG-VALUE"


@pytest.fixture
def gpus(monkeypatch):
    """Make torch believe in so many GPUs."""

    def have(count):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return have


@pytest.mark.parametrize(
    ("count", "device", "meant"),
    [
        (0, "auto", "cpu"), (0, "cpu", "cpu"),
        (2, "auto", "cuda"), (2, "cpu", "cpu"), (2, "cuda", "cuda"),
        (2, "cuda:0", "cuda:0"), (2, "cuda:1", "cuda:1"), (2, "cuda:01", "cuda:1"),
    ],
)  # fmt: skip
def test_a_device_that_is_there_is_used(gpus, count, device, meant):
    gpus(count)
    assert Runtime(device=device).torch_device() == torch.device(meant)


@pytest.mark.parametrize(
    ("count", "device", "says"),
    [
        (0, "cuda", "no GPU is usable"),
        (0, "cuda:0", "no GPU is usable"),
        (1, "cuda:1", "auto, cpu or one of cuda:0"),
        (2, "cuda:2", "auto, cpu or one of cuda:0, cuda:1"),
        (2, "cuda:999", "auto, cpu or one of cuda:0, cuda:1"),
    ],
)
def test_a_device_that_is_not_there_is_a_fault_of_the_settings(gpus, count, device, says):
    gpus(count)
    with pytest.raises(ConfigError, match=says) as refusal:
        Runtime(device=device).torch_device()
    assert (refusal.value.code, refusal.value.exit_code) == ("E-CFG-DEVICE", 4)


def test_it_stops_the_extraction_and_holds_no_clip(gpus, tmp_path):
    root = make_project(tmp_path / "p", sources=1, toml='[features.speaker]\nbackend = "ge2e"\n')
    add_weights(root, "ge2e", make_ge2e(tmp_path / "w"))
    ingest(open_project(root), scheduler=SYNC)
    shutil.copytree(root, tmp_path / "on the processor")
    # The same key in the same process: the device is in no key, and yet its own.
    extract(open_project(tmp_path / "on the processor"), scheduler=SYNC, features=["speaker"])
    with (root / "redub.toml").open("a") as file:
        file.write('[compute]\ndevice = "cuda:7"\n')
    gpus(1)
    try:
        with pytest.raises(ConfigError, match="E-CFG-DEVICE"):
            extract(open_project(root), scheduler=SYNC, features=["speaker"])
    finally:
        _EXTRACTORS.clear()
        _KEYS.clear()
    store = Store(open_project(root))
    assert store.quarantined().is_empty()
    assert store.read("speaker") == {}
