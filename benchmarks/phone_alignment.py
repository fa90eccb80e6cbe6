"""hama against pocketsphinx: which sentences are refused, where words begin, and the PER.

Reads a folder of RAVDESS-named recordings, a folder with clips of GRID and their ``.align`` files
(the words' own times), and the fetched package (`redub weights get hama`).

    python benchmarks/phone_alignment.py RAVDESS GRID [--each 3]

RAVDESS: every recording is aligned to its own sentence, to the other sentence of the corpus (four
of its six words are the same), to its own sentence with another last word ("house"), and to four
sentences that have nothing to do with it. A sentence that is not spoken should be refused. GRID:
the starts and ends of the words, compared with the corpus's own. PER: of hama's phonemes against
the own and the other sentence; 95 % interval by bootstrap over recordings.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from redub.core.errors import FeatureAbsent
from redub.core.phonemes import is_pause, symbol_of
from redub.core.types import AudioSpec, Clip, ClipMedia, VideoSpec, Waveform
from redub.evaluation.phoneme_error import corpus_per, heard_in
from redub.features.base import Extractor
from redub.features.registry import make_extractor
from redub.features.text.pronunciation import pronounce
from redub.features.weights.packages import fetched

AUDIO = AudioSpec()
RATE = AUDIO.sample_rate_hz
SENTENCES = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}
UNRELATED = (
    "The weather was better on Monday morning",
    "She bought a yellow car and two bicycles",
    "Nobody knows how many fish swim there",
    "Please close all windows before you leave",
)


def recording(path: Path) -> Waveform:
    """Mono sound of an audio or a video file, at redub's rate."""
    if path.suffix in {".flac", ".wav"}:
        sound, rate = soundfile.read(path, dtype="float32", always_2d=True)
        mono = sound.mean(axis=1)
    else:
        with av.open(str(path)) as container:
            rate = container.streams.audio[0].rate
            resampler = av.AudioResampler("fltp", "mono", rate)
            parts = [
                out.to_ndarray()[0]
                for frame in container.decode(audio=0)
                for out in resampler.resample(frame)
            ]
        mono = np.concatenate(parts)
    return Waveform(soxr.resample(mono, rate, RATE).astype(np.float32), RATE)


def one_clip(text: str) -> Clip:
    return Clip(
        clip_id="a/1",
        source="a.mp4",
        source_digest="0" * 64,
        start_frame=0,
        end_frame=1,
        film="a",
        scene="1",
        position=1,
        text=text,
    )


def rows_of(
    aligner: Extractor, phonemes: Extractor, sound: Waveform, text: str
) -> NDArray[np.int32] | None:
    """(R, 2) rows of the feature ``durations``, None where the sentence is refused."""
    clip = one_clip(text)
    ids = phonemes.extract(ClipMedia(clip=clip))
    try:
        return np.asarray(
            aligner.extract(ClipMedia(clip=clip, waveform=sound, features={"phonemes": ids}))
        )
    except FeatureAbsent:
        return None


def word_borders_s(rows: NDArray[np.int32], text: str) -> list[tuple[float, float]]:
    """Start and end of every word in seconds."""
    ends = np.cumsum(rows[:, 1]) * AUDIO.hop_samples / RATE
    spoken = [
        (end - frames * AUDIO.hop_samples / RATE, end)
        for (phone, frames), end in zip(rows.tolist(), ends.tolist(), strict=True)
        if not is_pause(phone)
    ]
    borders, first = [], 0
    for word in pronounce(text):
        last = first + len(word.phones) - 1
        borders.append((spoken[first][0], spoken[last][1]))
        first = last + 1
    return borders


def refusals(aligners: Mapping[str, Extractor], phonemes: Extractor, files: Sequence[Path]) -> None:
    print(f"{len(files)} recordings of RAVDESS\n")
    print(
        f"{'':14}{'own accepted':>14}{'other accepted':>16}{'one word':>10}{'unrelated':>16}"
        f"{'wall s per s':>13}"
    )
    for name, aligner in aligners.items():
        own = other = one_word = unrelated = 0
        spent = heard = 0.0
        for path in files:
            statement = path.stem.split("-")[4]
            sound = recording(path)
            began = time.perf_counter()
            own += rows_of(aligner, phonemes, sound, SENTENCES[statement]) is not None
            spent += time.perf_counter() - began
            heard += len(sound.samples) / RATE
            wrong = SENTENCES["02" if statement == "01" else "01"]
            other += rows_of(aligner, phonemes, sound, wrong) is not None
            changed = SENTENCES[statement].replace("door", "house")
            one_word += rows_of(aligner, phonemes, sound, changed) is not None
            unrelated += sum(
                rows_of(aligner, phonemes, sound, text) is not None for text in UNRELATED
            )
        tries = f"{unrelated} of {len(files) * len(UNRELATED)}"
        print(
            f"{name:14}{own:14d}{other:16d}{one_word:10d}{tries:>16}{spent / heard:13.2f}",
            flush=True,
        )


def borders(aligners: Mapping[str, Extractor], phonemes: Extractor, folder: Path) -> None:
    print("\nborders of words in GRID, ms: median (largest); earlier is negative")
    for align in sorted(folder.glob("*.align")):
        lines = [line.split() for line in align.read_text().splitlines()]
        spoken = [line for line in lines if line[2] not in {"sil", "sp"}]
        times = np.array([[float(line[0]), float(line[1])] for line in spoken]) / 25_000
        text = " ".join(line[2] for line in spoken)
        (clip,) = folder.glob(f"*{align.stem}.mpg")
        for name, aligner in aligners.items():
            rows = rows_of(aligner, phonemes, recording(clip), text)
            if rows is None:
                print(f"{align.stem:10}{name:14}refused")
                continue
            apart = (np.array(word_borders_s(rows, text)) - times) * 1000
            print(
                f"{align.stem:10}{name:14}{np.median(np.abs(apart)):6.0f} "
                f"({np.abs(apart).max():.0f}), mean {apart.mean():+.0f}"
            )


def error_rates(files: Sequence[Path], phonemes: Extractor) -> None:
    print("\nphoneme error rate of hama, %")
    weights = fetched("hama")
    heard = [heard_in(recording(path), weights) for path in files]
    statements = [path.stem.split("-")[4] for path in files]
    said = {}
    for number, text in SENTENCES.items():
        clip = one_clip(text)
        ids = phonemes.extract(ClipMedia(clip=clip))
        said[number] = " ".join(symbol_of(int(one)) for one in np.asarray(ids).ravel())
    other = {"01": said["02"], "02": said["01"]}
    for name, table in (("own sentence", said), ("the other sentence", other)):
        found = corpus_per([table[number] for number in statements], heard)
        low, high = 100 * found.per_low, 100 * found.per_high
        print(f"{name:22}{100 * found.per:6.1f} [{low:.1f}, {high:.1f}]")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ravdess", type=Path)
    parser.add_argument("grid", type=Path)
    parser.add_argument("--each", type=int, default=3)
    options = parser.parse_args()
    files = sorted(p for p in options.ravdess.rglob("*") if p.suffix in {".flac", ".wav"})
    files = files[:: options.each]
    specs = {"audio": AUDIO, "video": VideoSpec()}
    phonemes = make_extractor("phonemes", **specs)
    aligners = {
        "pocketsphinx": make_extractor("durations", **specs),
        "hama": make_extractor(
            "durations", backend="hama", folders={"model": fetched("hama")}, **specs
        ),
    }
    borders(aligners, phonemes, options.grid)
    error_rates(files, phonemes)
    refusals(aligners, phonemes, files)


if __name__ == "__main__":
    main()
