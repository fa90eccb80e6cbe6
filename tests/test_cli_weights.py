"""`redub weights` and `--profile` as a user types them."""

import json

from tests.features.paper.toy import make_toy
from tests.pipeline.films import make_project
from tests.test_cli import redub


def test_weights_are_recorded_listed_verified_and_removed(tmp_path):
    root = make_project(tmp_path / "p", sources=1)
    weights = make_toy(tmp_path / "w")
    added = redub("weights", "add", "ge2e", weights, "-C", root)
    assert added.returncode == 0, added.stderr
    assert "licence: Apache-2.0" in added.stderr
    listed = json.loads(redub("weights", "list", "-C", root, "--json").stdout)
    [entry] = listed["weights"]
    assert (entry["name"], entry["kind"], list(entry["files"])) == ("ge2e", "ge2e", ["toy.pt"])
    assert redub("weights", "verify", "-C", root).returncode == 0
    (weights / "toy.pt").write_bytes((weights / "toy.pt").read_bytes() + b"\0")
    found = redub("weights", "verify", "-C", root, "--json")
    assert found.returncode == 8
    assert "E-MODEL-CHANGED" in json.loads(found.stdout)["weights"]["ge2e"][0]
    assert redub("weights", "remove", "ge2e", "-C", root).returncode == 0
    assert "Traceback" not in found.stderr + added.stderr


def test_unknown_words_name_the_nearest_and_change_nothing(tmp_path):
    root = make_project(tmp_path / "p", sources=1)
    wrong = redub("weights", "add", "emotion2vek", tmp_path, "-C", root)
    assert wrong.returncode == 2
    assert "emotion2vec" in wrong.stderr
    assert redub("extract", "--profile", "papr", "-C", root).returncode == 4
    assert not (root / "models.lock").exists()


def test_the_paper_profile_without_weights_says_what_to_type(tmp_path):
    root = make_project(tmp_path / "p", sources=1)
    assert redub("ingest", "-C", root, "--scheduler", "sync").returncode == 0
    for words in (["extract", "--profile", "paper"], ["plan", "--profile", "paper"]):
        done = redub(*words, "-C", root)
        assert done.returncode == 8
        assert "redub weights add" in done.stderr
        assert "Traceback" not in done.stderr
    assert not (root / "features").exists()


def test_kinds_name_files_and_licences():
    kinds = json.loads(redub("weights", "kinds", "--json").stdout)["kinds"]
    assert kinds["emonet"]["licence"] == "CC-BY-NC-ND-4.0"
    assert "config.yaml" in kinds["emotion2vec"]["wanted"][0]
