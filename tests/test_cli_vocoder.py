"""`redub vocoder` and vocoders in `doctor --weights`, as a user types them."""

from tests.json_schema import checked
from tests.model import public_vocoders as public
from tests.pipeline.films import make_project
from tests.pipeline.stages.test_vocoder import QUICK
from tests.typed import redub


def test_a_vocoder_is_trained_goes_on_and_is_named_by_its_run(tmp_path):
    root = make_project(tmp_path / "p", sources=2, toml="[train]\nthreads = 1\n")
    early = redub("vocoder", "train", "--max-steps", "1", "-C", root)
    assert early.returncode == 4
    assert "redub extract" in early.stderr
    for words in (("ingest",), ("extract", "-f", "mel", "-f", "waveform")):
        assert redub(*words, "--scheduler", "sync", "-C", root).returncode == 0
    settings = [part for setting in QUICK for part in ("--set", setting)]
    train = ("vocoder", "train", "--run", "mine", *settings, "-C", root)
    done = redub(*train, "--max-steps", "1")
    assert done.returncode == 0, done.stderr
    assert "steps 0–1 in" in done.stderr
    assert "mel distance of 1 held-out lines" in done.stderr
    assert 'run = "mine" under [vocoder]' in done.stderr
    assert "steps 1–2 in" in redub(*train, "--max-steps", "2").stderr
    changed = redub(*train, "--max-steps", "3", "--set", "training.batch=1")
    assert changed.returncode == 4
    assert "training.batch 2 → 1" in changed.stderr
    assert "Traceback" not in done.stderr + changed.stderr + early.stderr


def test_words_that_make_no_sense_are_refused(tmp_path):
    root = make_project(tmp_path / "p", sources=1)
    wrong = redub("vocoder", "train", "--resume", "yes", "-C", root)
    assert wrong.returncode == 2
    assert "wanted auto or none" in wrong.stderr
    assert redub("vocoder", "train", "--preset", "tyni", "-C", root).returncode == 2
    (root / "redub.toml").write_text('[vocoder]\nname = "hifigan"\n')
    settings = redub("config", "-C", root)
    assert settings.returncode == 4
    assert "did you mean 'hifi_gan'?" in settings.stderr


def test_the_doctor_lets_a_vocoder_speak_and_names_what_is_wrong(tmp_path):
    root = make_project(tmp_path / "p", sources=1)
    weights = public.write(tmp_path / "w", public.HIFI_GAN)
    assert redub("weights", "add", "hifi_gan", weights, "-C", root).returncode == 0
    good = redub("doctor", "--weights", "-C", root)
    assert good.returncode == 0, good.stderr
    assert "hifi_gan → vocoder (hifi_gan)" in good.stderr
    assert "2.0 s of sound, mel distance" in good.stderr
    (root / "redub.toml").write_text("[audio]\nn_fft = 2048\n")
    bad = redub("doctor", "--weights", "-C", root, "--json")
    assert bad.returncode == 8
    [line] = checked(bad.stdout)["weights"]
    assert "audio.n_fft is 2048 here and 1024 there (n_fft)" in line["problem"]
