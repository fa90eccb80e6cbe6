"""`redub say` as a user types it: in a project, outside of one, lines of a file."""

from tests.json_schema import checked
from tests.pipeline.films import make_project
from tests.typed import redub


def line_of(done):
    [line] = checked(done.stdout)["lines"]
    return line


def test_a_line_is_shown_with_words_phones_and_what_is_not_spoken(tmp_path):
    said = line_of(redub("say", "Dr. Bo paid $5 [door] 😀", "-C", tmp_path, "--json"))
    assert [word["text"] for word in said["words"]] == ["doctor", "bo", "paid", "five", "dollars"]
    assert said["phones"][:2] == ["D", "AA"]
    assert said["phones"] == [phone for word in said["words"] for phone in word["phones"]]
    assert [said["text"][w["start"] : w["end"]] for w in said["words"]][-2:] == ["$5", "$5"]
    kinds = [(s["kind"], s["text"], s["name"]) for s in said["not_spoken"]]
    assert kinds == [("stage direction", "[door]", ""), ("sign", "😀", "grinning face")]
    assert (said["guessed"], said["unknown"], said["problem"]) == ([], [], "")


def test_people_get_a_table(tmp_path):
    said = redub("say", "Dr. Bo [door]", "-C", tmp_path)
    assert said.returncode == 0
    assert said.stdout == ""
    lines = said.stderr.splitlines()
    assert lines[1].split() == ["doctor", "D", "AA", "K", "T", "ER", "dictionary", "Dr."]
    assert lines[-1] == "not spoken: [door] (stage direction)"


def test_a_word_that_cannot_be_spoken_is_named_with_what_to_type(tmp_path):
    said = redub("say", "a zorblax", "-C", tmp_path)
    assert said.returncode == 3
    assert "zorblax; respell" in said.stderr
    assert "`redub weights get g2p" in said.stderr


def test_a_file_gives_one_entry_a_line_and_skips_empty_lines(tmp_path):
    file = tmp_path / "lines.txt"
    file.write_text("Hello.\n\n# 5 zorblax\n", encoding="utf-8")
    done = redub("say", "--file", file, "-C", tmp_path, "--json")
    assert done.returncode == 3
    first, second = checked(done.stdout)["lines"]
    assert (first["line"], second["line"]) == (1, 3)
    assert [w["text"] for w in second["words"]] == ["hash", "five"]  # no comment is left out
    assert second["unknown"] == ["zorblax"]
    shown = redub("say", "--file", file, "-C", tmp_path).stderr
    assert "2 lines: 0 with guessed words, 1 cannot be spoken" in shown


def test_a_project_speaks_with_its_own_pronunciations(tmp_path):
    root = make_project(tmp_path / "p", sources=1)
    (root / "pronunciations.csv").write_text("word,phones\nzorblax,Z AO R\n", encoding="utf-8")
    said = line_of(redub("say", "zorblax", "-C", root, "--json"))
    assert said["words"][0] | {"phones": ["Z", "AO", "R"], "source": "own"} == said["words"][0]
    (root / "pronunciations.csv").write_text("zorblax,Z QQ R\n", encoding="utf-8")
    wrong = redub("say", "zorblax", "-C", root)
    assert wrong.returncode == 4
    assert "pronunciations.csv line 1 has the phone 'QQ'" in wrong.stderr


def test_another_language_is_refused_and_not_read_as_english(tmp_path):
    said = line_of(redub("say", "Guten Tag", "--language", "de", "-C", tmp_path, "--json"))
    assert said["phones"] == []
    assert said["problem"].startswith("E-TEXT-LANGUAGE")
    assert 'backend = "espeak"' in said["problem"]
    assert redub("say", "Hi", "--language", "Deutsch!", "-C", tmp_path).returncode == 2


def test_a_british_z_is_zed(tmp_path):
    said = line_of(redub("say", "a Z", "--language", "en-GB", "-C", tmp_path, "--json"))
    assert said["words"][1]["phones"] == ["Z", "EH", "D"]


def test_either_a_line_or_a_file_is_wanted(tmp_path):
    assert redub("say", "-C", tmp_path).returncode == 2
    assert redub("say", "Hi", "--file", tmp_path / "x.txt").returncode == 2
    missing = redub("say", "--file", tmp_path / "x.txt", "-C", tmp_path)
    assert missing.returncode == 4
    assert "E-IN-MISSING" in missing.stderr or "x.txt" in missing.stderr
