"""Speed and memory of the speech networks, with random weights of the public sizes.

    python benchmarks/speech_networks.py [--tiny] [--device cpu] [--clips 24]

Prints, for GE2E and NPC, the time of the same clips in one batch against one by one; for
emotion2vec the real-time factor of a line vector and of 10 ms frames; and for each network the
growth of resident memory from loading it (with a first clip) compared with the bytes of its
weights. Each network is measured in a process of its own.
Clips last 1 to 6 s; times are the best of five passes over all of them, of emotion2vec one pass
over a sixth of them. Random weights take as long as trained ones.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from redub.core.types import AudioSpec, Clip, ClipMedia, Waveform
from redub.features.models.model_extractor import ModelExtractor
from redub.features.registry import extractor_config, make_extractor, weights_wanted
from redub.features.runtime import Runtime
from redub.features.weights.folder import WeightFolder

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests make checkpoints of any size

AUDIO = AudioSpec()


class Subject(NamedTuple):
    feature: str
    backend: str
    folder: Callable[[Path, bool], Path]
    settings: Callable[[bool], dict[str, Any]] = lambda tiny: {}
    passes: int = 5
    share: int = 1  # of the clips, one in so many


def ge2e_folder(path: Path, tiny: bool) -> Path:
    from tests.features.paper.ge2e_files import make_ge2e

    return make_ge2e(path)  # it has one size


def npc_folder(path: Path, tiny: bool) -> Path:
    from tests.features.paper.npc_files import PUBLIC, SMALL, make_npc

    return make_npc(path, paras=SMALL if tiny else PUBLIC)


def emotion2vec_folder(path: Path, tiny: bool) -> Path:
    from tests.features.paper.emotion2vec_files import LARGE, SMALL, make_emotion2vec

    return make_emotion2vec(path, sizes=SMALL if tiny else LARGE)


SUBJECTS = {
    "GE2E": Subject("speaker", "ge2e", ge2e_folder),
    "NPC": Subject("local_audio", "npc", npc_folder, lambda tiny: {"width": 16} if tiny else {}),
    "emotion2vec, per line": Subject(
        "audio_emotion", "emotion2vec", emotion2vec_folder, passes=1, share=6
    ),
    "emotion2vec, per 10 ms": Subject(
        "local_audio", "emotion2vec_frames", emotion2vec_folder, passes=1, share=6
    ),
}


def clips_of(count: int) -> list[ClipMedia]:
    """Noise with the loudness of syllables, 1 to 6 s; what is said makes no difference to time."""
    rng = np.random.default_rng(0)
    clips = []
    for n in range(count):
        frames = int(rng.integers(25, 151))
        samples = frames * 640
        loud = 0.05 * (1 + np.sin(2 * np.pi * 4 * np.arange(samples) / 16_000))
        wave = (loud * rng.standard_normal(samples)).astype(np.float32)
        clip = Clip(
            clip_id=f"noise/{n}", source="", source_digest="", start_frame=0, end_frame=frames,
            film="noise", scene="1", position=n,
        )  # fmt: skip
        clips.append(ClipMedia(clip=clip, waveform=Waveform(wave, 16_000)))
    return clips


def resident_mib() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def best_times(passes: int, *works: Callable[[], object]) -> list[float]:
    """Seconds of each work, the best of some passes; they take turns, so that both meet the same
    neighbours on a shared machine."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(passes):
        for work, taken in zip(works, times, strict=True):
            start = time.perf_counter()
            work()
            taken.append(time.perf_counter() - start)
    return [min(taken) for taken in times]


def built(subject: Subject, folder: Path, tiny: bool, device: str) -> ModelExtractor:
    from redub.core.types import VideoSpec

    video, overrides = VideoSpec(), subject.settings(tiny)
    config = extractor_config(
        subject.feature, audio=AUDIO, video=video, overrides=overrides, backend=subject.backend
    )
    files = {file.name: "" for file in folder.iterdir()}
    (role,) = weights_wanted(subject.feature, config, subject.backend)
    extractor = make_extractor(
        subject.feature,
        audio=AUDIO,
        video=video,
        overrides=overrides,
        backend=subject.backend,
        folders={role: WeightFolder(name=subject.backend, path=folder, files=files)},
        runtime=Runtime(device=device),
    )
    assert isinstance(extractor, ModelExtractor)
    return extractor


def measure(name: str, folder: Path, tiny: bool, device: str, count: int) -> dict[str, float]:
    """One network's figures, in this process."""
    import torch

    subject = SUBJECTS[name]
    extractor = built(subject, folder, tiny, device)
    clips = clips_of(max(1, count // subject.share))
    inputs = [extractor.prepare(clip) for clip in clips]
    torch.zeros(1, device=extractor.runtime.torch_device())
    before = resident_mib()
    weights = sum(
        value.numel() * value.element_size() for value in extractor.network.state_dict().values()
    )
    extractor.compute(inputs[:1])
    grown = resident_mib() - before
    together, alone = best_times(
        subject.passes,
        lambda: extractor.compute_all(inputs),
        lambda: [extractor.compute([given]) for given in inputs],
    )
    seconds = sum(clip.waveform.duration_s for clip in clips if clip.waveform)
    return {
        "weights_mib": weights / 2**20,
        "grown_mib": grown,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "together_s": together,
        "alone_s": alone,
        "seconds": seconds,
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="small networks, to try the script")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--only", default="", help="part of a network's name")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    spawned = multiprocessing.get_context("spawn")
    rows = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, subject in SUBJECTS.items():
            if options.only not in name:
                continue
            folder = Path(scratch) / subject.folder.__name__
            if not folder.exists():
                subject.folder(folder, options.tiny)
            with spawned.Pool(1) as pool:
                rows[name] = pool.apply(
                    measure, (name, folder, options.tiny, options.device, options.clips)
                )
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    first = next(iter(rows.values()))
    print(
        f"{options.clips} clips, {first['seconds']:.0f} s of sound, {options.device}, "
        f"{first['threads']:.0f} threads{', tiny' if options.tiny else ''}"
    )
    print(
        f"{'network':24}{'weights MiB':>12}{'resident +':>12}{'peak MiB':>10}"
        f"{'one by one s':>14}{'batched s':>11}{'ratio':>7}{'RTF':>8}"
    )
    for name, row in rows.items():
        print(
            f"{name:24}{row['weights_mib']:12.1f}{row['grown_mib']:12.1f}{row['peak_mib']:10.0f}"
            f"{row['alone_s']:14.2f}{row['together_s']:11.2f}"
            f"{row['alone_s'] / row['together_s']:7.2f}{row['together_s'] / row['seconds']:8.3f}"
        )


if __name__ == "__main__":
    main()
