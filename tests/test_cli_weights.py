"""`redub weights` and `--profile` as a user types them."""

from tests.features.paper.toy import make_toy
from tests.json_schema import checked
from tests.pipeline.films import make_project
from tests.typed import redub


def test_weights_are_recorded_listed_verified_and_removed(tmp_path):
    root = make_project(tmp_path / "p", sources=1)
    weights = make_toy(tmp_path / "w")
    added = redub("weights", "add", "ge2e", weights, "-C", root)
    assert added.returncode == 0, added.stderr
    assert "licence: Apache-2.0" in added.stderr
    listed = checked(redub("weights", "list", "-C", root, "--json").stdout)
    [entry] = listed["weights"]
    assert (entry["name"], entry["kind"], list(entry["files"])) == ("ge2e", "ge2e", ["toy.pt"])
    assert redub("weights", "verify", "-C", root).returncode == 0
    (weights / "toy.pt").write_bytes((weights / "toy.pt").read_bytes() + b"\0")
    found = redub("weights", "verify", "-C", root, "--json")
    assert found.returncode == 8
    assert "E-MODEL-CHANGED" in checked(found.stdout)["weights"]["ge2e"][0]
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
    done = redub("extract", "--profile", "paper", "-C", root)
    assert done.returncode == 8
    assert "redub weights add" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (root / "features").exists()
    planned = redub("plan", "--profile", "paper", "-C", root)
    assert planned.returncode == 0
    assert "scene_caption cannot be made: " in planned.stderr
    assert planned.stderr.endswith(f"next: redub weights kinds -C {root}\n")
    named = checked(redub("plan", "--profile", "paper", "-C", root, "--json").stdout)
    assert "redub weights add videollama2" in named["lacking"]["scene_caption"]
    status = redub("status", "--profile", "paper", "-C", root)
    assert status.stderr.endswith(f"next: redub weights kinds -C {root}\n")


def test_a_feature_that_needs_no_weights_is_extracted_in_the_paper_profile(tmp_path):
    root = make_project(tmp_path / "p", sources=1)
    assert redub("ingest", "-C", root, "--scheduler", "sync").returncode == 0
    flags = ("--profile", "paper", "-C", root)
    done = redub("extract", *flags, "-f", "mel", "--scheduler", "sync")
    assert done.returncode == 0, done.stderr
    assert redub("extract", "--profile", "", "-C", root).returncode == 4


def test_the_doctor_reads_tables_too(tmp_path):
    """Files that make no network are opened, not only hashed."""
    root = make_project(tmp_path / "p", sources=1)
    (tmp_path / "boxes.csv").write_text("clip_id,frame,x,y,w,h\na,0,1,1,5,5\n")
    (tmp_path / "words.txt").write_text("WE W IY1\n")
    (tmp_path / "captions.jsonl").write_text('{"clip_id": "a", "scene": "dark"}\n')
    files = {"face_boxes": "boxes.csv", "lexicon": "words.txt", "captions": "captions.jsonl"}
    for kind, name in files.items():
        assert redub("weights", "add", kind, tmp_path / name, "-C", root).returncode == 0
    good = redub("doctor", "--weights", "-C", root)
    assert good.returncode == 0, good.stderr
    assert "boxes of 1 clips" in good.stderr
    (tmp_path / "boxes.csv").write_text("clip_id,frame,x,y,w,h\na,0,1,1,none,5\n")
    (tmp_path / "captions.jsonl").write_text('{"clip_id": "a", "scene": 3}\n')
    for kind in ("face_boxes", "captions"):
        words = ("weights", "add", kind, tmp_path / files[kind], "--replace", "-C", root)
        assert redub(*words).returncode == 0
    bad = redub("doctor", "--weights", "-C", root)
    assert bad.returncode == 8
    assert "line 2: w is 'none'" in bad.stderr
    assert "line 1" in bad.stderr


def test_kinds_name_files_and_licences():
    kinds = checked(redub("weights", "kinds", "--json").stdout)["kinds"]
    assert kinds["emonet"]["licence"] == "CC-BY-NC-ND-4.0"
    assert "config.yaml" in kinds["emotion2vec"]["wanted"][0]
