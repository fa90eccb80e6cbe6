"""Every line of the table resolves, and ``auto`` serves no graph below its floor."""

import logging

import numpy as np
import pytest

from redub.core.errors import ConfigError
from redub.index import registry
from redub.index.base import RecallBelowFloor


def noise(count=2500, width=300):
    return np.random.default_rng(0).normal(size=(count, width)).astype(np.float32)


@pytest.mark.parametrize("name", sorted(registry.BACKENDS))
def test_a_backend_can_be_built_saved_and_loaded_by_name(name, tmp_path):
    index = registry.build_backend(name, noise(20, 4), metric="cosine")
    record = index.save(tmp_path)
    assert record.backend == name
    assert type(registry.load_backend(tmp_path, record)) is registry.backend_class(name)


def test_an_unknown_backend_answers_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'hnsw'"):
        registry.build_backend("hnws", noise(3, 4), metric="cosine")


def test_auto_is_exact_up_to_the_stated_size():
    assert registry.auto(0) == registry.auto(registry.EXACT_UP_TO) == "exact"
    assert registry.auto(registry.EXACT_UP_TO + 1) == "hnsw"


def test_auto_falls_back_to_exact_and_says_so(monkeypatch, caplog):
    # Above the stated size, noise of width 300 keeps a sparse graph below its floor.
    monkeypatch.setattr(registry, "EXACT_UP_TO", 100)
    monkeypatch.setattr("redub.index.hnsw.LARGEST_EF", 50)
    with caplog.at_level(logging.WARNING):
        index = registry.build_backend("auto", noise(), metric="cosine")
    assert type(index) is registry.backend_class("exact")
    assert "searching exactly" in caplog.text
    with pytest.raises(RecallBelowFloor):
        registry.build_backend("hnsw", noise(), metric="cosine")
