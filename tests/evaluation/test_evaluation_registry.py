"""Every line of the table resolves, and its direction is the one the metric really has."""

import sys
from subprocess import run

import numpy as np
import pytest

from redub.core.errors import ConfigError
from redub.evaluation.registry import METRICS, metric


@pytest.mark.parametrize("name", sorted(METRICS))
def test_every_metric_can_be_imported(name):
    assert callable(metric(name))


def test_an_unknown_metric_answers_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'mcd_dtw_sl'"):
        metric("mcd_dtwsl")


def test_reading_the_table_imports_no_metric():
    code = "import sys, redub.evaluation.registry; print(*sys.modules)"
    loaded = run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "redub.evaluation.registry" in loaded.split()
    assert not {"numpy", "scipy", "torch", "pyworld"} & set(loaded.split())


SIGNALS = ("gpe", "vde", "ffe", "f0_correlation", "energy_correlation")
SPECTRA = ("mcd", "mcd_dtw", "mcd_dtw_sl")


@pytest.mark.parametrize("name", SIGNALS + SPECTRA)
def test_identity_scores_better_than_noise_in_the_stated_direction(name):
    draw = np.random.default_rng(0)
    if name in SIGNALS:
        true, noise = draw.uniform(0, 300, (2, 200))
        true[::5] = 0
    else:
        true, noise = draw.normal(size=(2, 30, 80))
    same, other = metric(name)(true, true), metric(name)(true, noise)
    assert (same > other) if METRICS[name].direction == "higher" else (same < other)
