"""What the command line says between the results: progress, next commands, -C, what is at work."""

import os
import shlex

import pytest

from redub.commands import console, ending, invocation, options
from redub.core.stopping import Stopped
from redub.pipeline.store.lock import holder, project_lock
from redub.pipeline.store.packs.training_set import NO_OTHER_LINE, TrainingSet
from tests.json_schema import checked
from tests.pipeline.films import make_project
from tests.typed import redub


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A small project in a folder whose name a shell would split, ingested."""
    root = make_project(tmp_path_factory.mktemp("words") / "my film", sources=2)
    assert redub("ingest", "-C", root, "--scheduler", "sync").returncode == 0
    return root


def next_words(done):
    """The words of the ``next:`` line, as a shell would read them."""
    [line] = [text for text in done.stderr.splitlines() if text.startswith("next: ")]
    return shlex.split(line.removeprefix("next: "))


# -- progress


@pytest.fixture
def lines(monkeypatch, capsys):
    """Seconds to set, and what a progress shows on a stderr that is no terminal."""
    clock = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(console, "INVOCATION", invocation.Invocation())
    return clock, lambda: capsys.readouterr().err


def test_progress_without_a_terminal_is_a_line_at_start_every_ten_seconds_and_at_the_end(lines):
    clock, shown = lines
    with console.progress_bar("extract") as update:
        for done in range(0, 169, 4):  # 42 reports, 1 s apart
            update(done, 168)
            clock[0] += 1.0
    said = shown().splitlines()
    # 40 clips in 10 s are 4 a second; 128 more take 32 s.
    assert said[:2] == [
        "extract: 0 of 168 clips",
        "extract: 40 of 168 clips, 4.0 clips/s, 32 s left",
    ]
    assert [line.split()[1] for line in said] == ["0", "40", "80", "120", "160", "168"]
    assert said[-1].startswith("extract: 168 of 168 clips, ")
    assert "left" not in said[-1]


def test_what_an_earlier_run_did_took_no_time_of_this_one(lines):
    clock, shown = lines
    with console.progress_bar("train", "steps") as update:
        update(500, 600)
        clock[0] += 20.0
        update(510, 600, "loss 1.250")
    assert shown().splitlines() == [
        "train: 500 of 600 steps",
        "train: 510 of 600 steps, 0.5 steps/s, 180 s left, loss 1.250",
    ]


def test_no_work_has_no_progress(lines):
    with console.progress_bar("ingest", "files") as update:
        update(0, 0)
    assert lines[1]() == ""


def test_progress_lines_hold_no_control_characters(lines):
    with console.progress_bar("synthesize \x1b[2J\u202e", "lines") as update:
        update(0, 3)
    shown = lines[1]()
    assert shown.startswith("synthesize ")
    assert shown.removesuffix("\n").isprintable()


def test_a_stop_knows_how_far_the_work_was(lines):
    def work():
        with console.progress_bar("extract") as update:
            update(12, 168)
            raise Stopped(2)

    with pytest.raises(Stopped) as stopped:
        work()
    assert stopped.value.done == "12 of 168 clips"


def test_progress_is_for_people_and_stdout_one_document(root):
    done = redub("--progress-every", "0", "weights", "verify", "--json", "-C", root)
    assert checked(done.stdout)["schema"] == "redub.weights.verify/1"
    read = redub("ingest", "-C", root, "--scheduler", "sync")
    assert "files" not in read.stdout + read.stderr  # nothing to read, no progress


# -- -C


def test_a_folder_before_the_command_is_where_the_command_runs(root):
    above, name = root.parent, root.name
    for words, cwd in (
        (["-C", root, "status"], above),
        (["-C", name, "status"], above),
        (["--project", above, "-C", name, "status"], root),  # the second from the first, as git
        (["-C", above, "status", "-C", name], root),
        (["-C", "footage", "status", "-C", root], root),  # the one after is absolute: it wins
        (["-C", name, "status", "-C", "footage"], above),  # a project is found upwards
    ):
        done = redub(*words, "--json", cwd=cwd)
        assert done.returncode == 0, (words, done.stderr)
        assert checked(done.stdout)["clips"] == 4


def test_a_folder_before_the_command_that_is_not_there_is_one_sentence(root):
    done = redub("-C", "nowhere", "status", cwd=root)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "E-USAGE: -C nowhere: No such file or directory; name an existing folder"
    ]


def test_paths_after_a_folder_before_the_command_start_there(tmp_path):
    done = redub("-C", tmp_path, "init", "new one", cwd="/")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "new one" / "redub.toml").is_file()
    assert next_words(done) == ["redub", "ingest", "-C", str(tmp_path / "new one")]


# -- the next command


@pytest.mark.parametrize("before", [True, False])
def test_next_commands_name_the_folder_that_was_named(root, before):
    def typed(*words):
        place = ("-C", root.name)
        return redub(
            *(place if before else ()), *words, *(() if before else place), cwd=root.parent
        )

    for words, following in (
        (("ingest", "--scheduler", "sync"), ("extract",)),
        (("plan",), ("extract",)),
        (("plan", "--profile", "builtin"), ("extract", "--profile", "builtin")),
        (("status",), ("extract",)),
        (("status", "--profile", "builtin"), ("extract", "--profile", "builtin")),
        (("bad", "retry"), ("run",)),
        (("cache", "repair"), ("run",)),
    ):
        done = typed(*words)
        assert done.returncode == 0, done.stderr
        expected = ["redub", *following, "-C", root.name]
        assert next_words(done) == expected
    answer = checked(typed("status", "--json").stdout)
    assert shlex.split(answer["next_command"]) == ["redub", "extract", "-C", root.name]


def test_a_stage_under_another_profile_goes_on_under_it(root):
    done = redub("status", "--profile", "paper", "-C", root)
    assert done.returncode == 0, done.stderr
    assert next_words(done) == ["redub", "weights", "kinds", "-C", str(root)]
    words = options.with_profile_option(("index", "build"), root, "paper", "paper")
    assert shlex.split(words) == [
        *("redub", "run", "--from", "index", "--profile", "paper", "-C", str(root)),
    ]


def test_the_same_command_again_keeps_every_other_word(monkeypatch):
    words = ["redub", "-C", "my film", "train", "m2ci_dubber", "--run", "mine", "--from=a b.pt"]
    words += ["--resume", "none", "--estimate", "--set", "a=b"]
    monkeypatch.setattr(invocation.sys, "argv", words)
    start = "redub -C 'my film' train m2ci_dubber --run mine"
    assert invocation.as_typed("--resume", "--from") == f"{start} --estimate --set a=b"
    assert invocation.as_typed("--estimate=") == f"{start} '--from=a b.pt' --resume none --set a=b"
    assert ending._typed_command() == "train"


# -- what is trained on


def test_a_training_set_names_every_reason_with_its_count():
    some = TrainingSet(
        lines=2, clips=12, reasons={NO_OTHER_LINE: 9, "no mel (E-IN-NOAUDIO)": 1},
        preset="tiny", wanted=12,
    )  # fmt: skip
    assert some.sentence() == (
        "trains on 2 of 12 utterances: 9 have no other line of their voice; "
        "1 has no mel (E-IN-NOAUDIO)"
    )
    warning = some.warning()
    assert "2 utterances are too few for preset tiny, which needs at least 12" in warning
    assert "speakers.csv" in warning
    enough = TrainingSet(lines=12, clips=12, reasons={}, preset="tiny", wanted=12)
    assert enough.said() == ["trains on 12 of 12 utterances"]


# -- what is at work


def test_a_project_names_the_command_that_writes_to_it_or_none(root):
    assert holder(root) is None
    with project_lock(root, stage="extract"):
        found = holder(root)
        assert (found.pid, found.stage, found.run) == (os.getpid(), "extract", "")
        done = redub("status", "-C", root)
        refused = redub("ingest", "-C", root, "--scheduler", "sync")
    assert f"extract is at work: pid {os.getpid()} on" in done.stderr
    assert f"next: wait for it, or look: redub status -C '{root}'" in done.stderr
    assert refused.returncode == 7
    assert "(extract)" in refused.stderr
    assert holder(root) is None


def test_looking_who_writes_refuses_no_writer(root):
    for _ in range(50):
        assert holder(root) is None
        with project_lock(root):
            pass


def test_status_while_a_run_trains_names_it_with_its_step(root):
    folder = root / "runs" / "mine"
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text(
        '{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.5}\n{"st'
    )
    with project_lock(root, stage="train", run="mine"):
        done = redub("status", "-C", root)
        answer = checked(redub("status", "--json", "-C", root).stdout)
    assert f"train mine is at work, at step 2: pid {os.getpid()} on" in done.stderr
    assert f"next: wait for it, or look: redub runs show mine -C '{root}'" in done.stderr
    assert answer["busy"]["step"] == 2
    assert answer["busy"]["holder"]["run"] == "mine"
    assert shlex.split(answer["next_command"])[1:4] == ["runs", "show", "mine"]
    assert redub("runs", "show", "mine", "-C", root).returncode == 0
