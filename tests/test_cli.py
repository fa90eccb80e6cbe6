"""The command line as a user types it: exit codes, plain sentences, JSON, hostile footage."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import pytest
from typer.testing import CliRunner

from redub.cli import app
from redub.commands.console import printable
from redub.pipeline.store.lock import project_lock
from redub.pipeline.store.project import open_project
from redub.pipeline.store.tables import Store
from tests.footage.media import make, steady
from tests.json_schema import checked
from tests.pipeline.films import add_source, make_project, tree_digest
from tests.typed import redub

REDUB = [sys.executable, "-m", "redub.cli"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Good footage beside everything that can be wrong with a file or a line; run once."""
    root = make_project(tmp_path_factory.mktemp("hostile"), sources=2)
    footage = root / "footage"
    good = (footage / "scene_0.mp4").read_bytes()
    (footage / "empty.mp4").touch()
    (footage / "garbage.mp4").write_bytes(bytes(range(256)) * 40)
    (footage / "cut.mp4").write_bytes(good[: len(good) // 2])
    make(footage / "sound_only.mp4", sound="aac", sound_s=2.0)
    make(footage / "silent.mp4", steady(50), size=(96, 64))
    uneven = [Fraction(k * k, 500) + Fraction(k, 50) for k in range(40)]
    make(footage / "uneven.mp4", uneven, size=(96, 64), sound="aac")
    make(footage / "odd.mkv", steady(50), size=(97, 63), codec="ffv1", sound="flac")
    shutil.copy(footage / "scene_1.mp4", footage / "really_mp4.avi")  # wrong extension
    os.mkfifo(footage / "pipe.mp4")
    (footage / "away.mp4").symlink_to("/etc/hostname")
    shutil.copy(footage / "scene_1.mp4", footage / "lines.mp4")
    (footage / "lines.srt").write_text(
        "1\n00:00:00,100 --> 00:00:00,700\nANN: hello my good friend\n\n"
        "2\n00:00:00,500 --> 00:00:00,900\nANN: we should go home now\n\n"
        "3\n00:00:01,500 --> 00:00:01,200\nBOB: thank you\n\n"
        "4\n00:00:01,000 --> 00:00:01,800\nEVE: thank you for the water\n"
    )
    (footage / "cast.csv").write_text("name,rights,note\nANN,research,\nBOB,research,\n")
    speakers = ["silent.mp4", "uneven.mp4", "odd.mkv", "really_mp4.avi"]
    rows = "".join(f"{name},,ANN\n" for name in speakers)
    (footage / "speakers.csv").write_text("source,line,speaker\n" + rows)
    done = redub("run", "-C", root, "--scheduler", "sync", "--to", "extract")
    return root, done


EXPECTED = {
    "empty.mp4": "E-IN-EMPTY",
    "garbage.mp4": "E-IN-FORMAT",
    "cut.mp4": "E-IN-TRUNC",
    "sound_only.mp4": "E-IN-NOVIDEO",
    "pipe.mp4": "E-IN-NOTFILE",
    "away.mp4": "E-SEC-ESCAPE",
    "lines-0002": "E-SUB-OVERLAP",
    "lines-0003": "E-SUB-REVERSED",
    "lines-0004": "E-IN-CAST",
}


def test_hostile_footage_ends_with_exit_3_and_the_rest_is_done(hostile):
    root, done = hostile
    assert done.returncode == 3, done.stderr
    store = Store(open_project(root))
    committed = set(store.live_features("waveform")["clip_id"])
    assert {"scene_0-0001", "scene_1-0002", "lines-0001", "silent-0001"} <= committed
    assert {"uneven-0001", "odd+mkv-0001", "really_mp4+avi-0001"} <= committed


@pytest.mark.parametrize(("name", "code"), EXPECTED.items())
def test_each_fault_has_its_own_code_and_a_sentence(hostile, name, code):
    root, _ = hostile
    rows = checked(redub("bad", "list", "--json", "-C", root).stdout)["rows"]
    row = next(r for r in rows if r["clip_id"] == name)
    assert row["code"] == code
    assert len(row["message"].split()) >= 4
    assert "Traceback" not in row["message"]


def test_nothing_else_was_quarantined(hostile):
    root, _ = hostile
    rows = checked(redub("bad", "list", "--json", "-C", root).stdout)["rows"]
    assert {r["clip_id"] for r in rows} == set(EXPECTED)


def test_a_clip_without_sound_has_nulls_with_the_reason(hostile):
    root, _ = hostile
    rows = checked(redub("cache", "why", "silent-0001", "--json", "-C", root).stdout)["rows"]
    states = {r["feature"]: r["state"] for r in rows}
    assert states["mel"].startswith("null: E-IN-NOAUDIO")
    assert states["scene_caption"] == "committed"


def test_a_clip_without_words_has_nulls_with_the_reason(hostile):
    root, _ = hostile
    rows = checked(redub("cache", "why", "uneven-0001", "--json", "-C", root).stdout)["rows"]
    states = {r["feature"]: r["state"] for r in rows}
    assert states["phonemes"].startswith("null: E-TEXT-NONE")
    assert states["durations"].startswith("null: E-TEXT-NONE")


def test_status_adds_up_and_is_json(hostile):
    root, _ = hostile
    report = checked(redub("status", "--json", "-C", root).stdout)
    assert report["schema"] == "redub.status/1"
    for line in report["ledger"]:
        assert line["listed"] == line["committed"] + line["quarantined"] + line["pending"]


def test_an_unknown_key_ends_with_exit_4_and_the_nearest(tmp_path):
    root = make_project(tmp_path, sources=1, toml="[index]\nbackned = 'exact'\n")
    done = redub("ingest", "-C", root)
    assert done.returncode == 4
    assert "unknown key 'index.backned'; did you mean 'backend'?" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("[features.f1]\nx = 1\n", "did you mean 'f0'"),
        ("[features.mel]\nhop = 1\n", "unknown key 'features.mel.hop'"),
        ("[index]\nk = 'three'\n", "'index.k' wants int"),
        ("[index]\nmetric = 'cosinus'\n", "legal: cosine, dot, negative_euclidean"),
        ("[train.model]\nwidht = 3\n", "width"),
        ("[train.system]\nwidth = 3\n", "since redub 0.2 it is called 'model'"),
        ("[train]\ntimbres = 3\n", "since redub 0.2 it is called 'reference_mels'"),
        ("[train.training.optimiser]\naverage_decay = 0.9\n", "called 'ema_decay'"),
        ("[features.speaker]\nby = 'ge2e'\n", "since redub 0.2 it is called 'backend'"),
        ("name = \n", "redub.toml"),
    ],
)
def test_wrong_settings_are_named(tmp_path, toml, words):
    root = tmp_path
    (root / "redub.toml").write_text(toml)
    (root / "footage").mkdir()
    command = "train" if "train" in toml else "plan"
    done = redub(command, "-C", root)
    assert done.returncode == 4, done.stderr
    assert words in done.stderr


def test_two_runs_at_once_end_with_exit_7_and_the_first_ones_pid(tmp_path):
    root = make_project(tmp_path, sources=1)
    with project_lock(root):
        done = redub("ingest", "-C", root, "--scheduler", "sync")
    assert done.returncode == 7
    assert f"pid {os.getpid()}" in done.stderr


@pytest.mark.slow
def test_a_full_disk_ends_with_exit_5_and_nothing_half_written_is_read(tmp_path):
    root = make_project(tmp_path / "film", sources=3)
    script = (
        "mount -t tmpfs -o size=700k none {work} && cp {root}/redub.toml {work}/ && "
        "ln -s {root}/footage {work}/footage && "
        "{redub} run -C {work} --scheduler sync --to extract; "
        "code=$?; rm -rf {copy}; cp -r {work} {copy}; exit $code"
    )
    work, copy = tmp_path / "work", tmp_path / "copy"
    work.mkdir()
    words = script.format(work=work, root=root, copy=copy, redub=" ".join(REDUB))
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", words],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=300,
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no private mounts here: {done.stderr.strip()[:80]}")
    assert done.returncode == 5, done.stderr
    assert "the disk is full" in done.stderr
    # What was committed before is whole, and with room the run goes on from there.
    (copy / "footage").unlink()
    shutil.copytree(root / "footage", copy / "footage")
    assert redub("cache", "verify", "-C", copy).returncode == 0
    assert redub("run", "-C", copy, "--scheduler", "sync", "--to", "extract").returncode == 0
    expected = redub("run", "-C", root, "--scheduler", "sync", "--to", "extract")
    assert expected.returncode == 0
    features = {n: d for n, d in tree_digest(copy).items() if n.startswith("features/")}
    assert features == {n: d for n, d in tree_digest(root).items() if n.startswith("features/")}


def test_a_flipped_byte_is_found_and_named_with_exit_6(tmp_path):
    root = make_project(tmp_path, sources=1)
    redub("run", "-C", root, "--scheduler", "sync", "--to", "ingest")
    redub("extract", "-C", root, "--scheduler", "sync", "-f", "mel")
    part = next((root / "features" / "mel").rglob("part-*.parquet"))
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(bytes(content))
    done = redub("cache", "verify", "-C", root)
    assert done.returncode == 6
    assert part.name in done.stderr
    assert redub("status", "-C", root).returncode == 6


def test_stages_before_their_input_name_the_stage_to_run(tmp_path):
    root = make_project(tmp_path, sources=1)
    for words, missing in (
        (("extract",), "redub ingest"),
        (("index", "build"), "redub ingest"),
        (("retrieve",), "redub index build"),
        (("train",), "redub index build"),
        (("report",), "redub evaluate"),
    ):
        done = redub(*words, "-C", root)
        assert done.returncode == 4, words
        assert missing in done.stderr


def test_outside_a_project_the_next_command_is_named(tmp_path):
    done = redub("status", cwd=tmp_path)
    assert done.returncode == 4
    assert "redub init" in done.stderr


def test_init_makes_a_project_that_runs_and_never_overwrites(tmp_path):
    assert redub("init", tmp_path / "new").returncode == 0
    assert redub("init", tmp_path / "new").returncode == 4
    add_source(tmp_path / "new" / "footage", "a", seed=1)
    done = redub("ingest", "-C", tmp_path / "new", "--scheduler", "sync")
    assert done.returncode == 0
    assert "2 clips" in done.stderr


def test_a_dry_run_writes_nothing(tmp_path):
    root = make_project(tmp_path, sources=1)
    redub("ingest", "-C", root, "--scheduler", "sync")
    before = tree_digest(root)
    for words in (("run", "-n"), ("extract", "-n"), ("plan",)):
        assert redub(*words, "-C", root).returncode == 0
    assert tree_digest(root) == before


def test_an_empty_footage_folder_is_not_success(tmp_path):
    (tmp_path / "footage").mkdir()
    (tmp_path / "redub.toml").write_text("")
    done = redub("ingest", "-C", tmp_path)
    assert done.returncode == 4
    assert "0 clips" in done.stderr


@pytest.mark.parametrize(
    ("name", "code", "scheduler"),
    [
        pytest.param("SIGINT", 130, "sync", marks=pytest.mark.slow),
        ("SIGTERM", 143, "sync"),
        ("SIGINT", 130, "processes"),
    ],
)
def test_signals_to_the_whole_group_end_with_their_code_and_leave_the_store_whole(
    tmp_path, name, code, scheduler
):
    # A terminal sends Ctrl-C to every process of the group: workers and decoders as well.
    root, twin = tmp_path / "p", tmp_path / "twin"
    make_project(root, sources=4)
    extract = ("extract", "-f", "mel", "--scheduler", scheduler, "-C", str(root))
    assert redub("ingest", "-C", root, "--scheduler", "sync").returncode == 0
    shutil.copytree(root, twin)
    process = subprocess.Popen(
        [*REDUB, *extract],
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while not list(root.glob("features/*/*/commits/*.json")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    started = in_session(process.pid)
    assert len(started) >= (2 if scheduler == "sync" else 4)  # itself, decoder; workers
    os.killpg(process.pid, getattr(signal, name))
    _, errors = process.communicate(timeout=120)
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    how = "interrupted" if name == "SIGINT" else "terminated"
    assert re.search(rf"{how} in extract at \d+ of 8 clips: the clips done so far are", errors)
    assert f"go on with: redub {shlex.join(extract)}\n" in errors
    for _ in range(100):
        if not in_session(process.pid):
            break
        time.sleep(0.05)
    assert in_session(process.pid) == []
    assert redub("cache", "verify", "-C", root).returncode == 0
    for place in (root, twin):
        words = ("extract", "-f", "mel", "--scheduler", "sync", "-C", place)
        assert redub(*words).returncode == 0
    assert tree_digest(root) == tree_digest(twin)


def in_session(session):
    """Processes of a session that are alive."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, own = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(own) == session and state != "Z":
            found.append(int(path.parent.name))
    return found


def test_a_reader_that_leaves_early_gets_no_traceback(hostile):
    root, _ = hostile
    command = f"{' '.join(REDUB)} config -C {root} | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=ENVIRONMENT)
    assert done.stdout.startswith("name = ")
    assert done.stderr == ""
    statuses = subprocess.run(
        ["bash", "-c", f"{command}; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
    )
    assert statuses.stdout.splitlines()[-1] == "0"


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        (b"\xff\xfe", "not UTF-8"),
        (b"[video]\nfps = 30\n", "25 fps grid"),
        (b"[train]\nthreads = 0\n", "wanted at least 1"),
        (b"[footage]\nroot = ''\n", "name another folder"),
    ],
)
def test_settings_out_of_range_are_sentences(tmp_path, toml, words):
    (tmp_path / "redub.toml").write_bytes(toml)
    done = redub("status", "-C", tmp_path)
    assert done.returncode == 4
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_plan_sees_new_footage_before_it_is_ingested(tmp_path):
    root = make_project(tmp_path, sources=1)
    redub("ingest", "-C", root, "--scheduler", "sync")
    add_source(root / "footage", "late", seed=5)
    answer = checked(redub("plan", "--json", "-C", root).stdout)
    assert answer["footage"]["to_read"] == ["late.mp4"]


def test_an_end_far_past_the_media_costs_only_its_own_line(tmp_path):
    root = make_project(tmp_path, sources=1, lines=3)
    path = root / "footage" / "scene_0.srt"
    path.write_text(path.read_text().replace("00:00:01,880", "00:09:01,880"))
    done = redub("ingest", "-C", root, "--scheduler", "sync")
    assert done.returncode == 3
    rows = checked(redub("bad", "list", "--json", "-C", root).stdout)["rows"]
    assert [(r["clip_id"], r["code"]) for r in rows] == [("scene_0-0002", "E-SUB-PASTEND")]


def test_unknown_words_are_usage_errors():
    runner = CliRunner()
    assert runner.invoke(app, ["ingets"]).exit_code == 2
    assert runner.invoke(app, ["extract", "--wrokers", "2"]).exit_code == 2


def test_an_unknown_feature_is_refused_before_anything_starts(tmp_path):
    root = make_project(tmp_path, sources=1)
    done = redub("extract", "-f", "mell", "-C", root)
    assert done.returncode == 2
    assert "did you mean 'mel'?" in done.stderr


def test_help_names_every_command():
    text = redub("--help").stdout
    for word in ("ingest", "extract", "index", "train", "dub", "demo", "doctor", "bad", "plan"):
        assert word in text


def test_control_and_bidi_characters_of_names_are_shown_not_obeyed():
    assert printable("a\x1b[31mb\u202ec\x07") == "a\\u001b[31mb\\u202ec\\u0007"
    assert printable("naïve 漢字") == "naïve 漢字"


def test_doctor_imports_every_registry_line():
    done = redub("doctor", "--json")
    report = checked(done.stdout)
    assert done.returncode == 0, report["problems"]
    assert report["problems"] == []
    assert set(report["sections"]["registry: extractors"]) >= {"mel", "lips", "scene_caption"}
    for section, lines in report["sections"].items():
        assert not any("broken" in str(v) for v in lines.values()), section


def test_a_project_with_nothing_to_train_on_says_why_and_ends_well(tmp_path):
    # Words that are not in the recording: the aligner finds no path, so no line can be trained on.
    root = make_project(tmp_path, sources=1, lines=1)
    done = redub("run", "-C", root, "--scheduler", "sync")
    assert done.returncode in (0, 3), done.stderr
    assert "train: stopped here:" in done.stderr
    assert "Traceback" not in done.stderr
