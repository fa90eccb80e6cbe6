"""Items per second into collated batches: from a pack, and from one file per feature and clip.

    python benchmarks/packs.py [--clips 600] [--seconds 4] [--workers 0]

The reference layout is how the dubbing repositories keep their data: of every item 8 arrays of its
own, 3 query vectors and 18 vectors of its hits as separate ``.npy`` files, and 3 JSON lists of 100
hits. Both ways hold the same numbers at the paper's widths and end in the same batches, made by the
same code; what differs is how the numbers are kept. Both are read once before the clock starts.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from redub.core.types import MODALITIES, AudioSpec
from redub.model.batch import DubbingBatch
from redub.pipeline.pack import (
    FOLDER,
    LINKS,
    PARTS,
    Stored,
    _file,
    _link_schema,
    _vectors,
    _write_ipc,
    _write_part,
)
from redub.training.batching import BatchingConfig, collate, epoch_batches, widths_of
from redub.training.lines import DubbingLine, FeatureScaler, Hits
from redub.training.pack import Pack, PackRecord

HITS, LISTED, BATCH = 3, 100, 16
WIDTHS = {"scene": 1024, "face": 1024, "text": 2048, "audio": 1024}
KINDS = {
    "mel": Stored(kind="frames", width=80, dtype="float16"),
    "f0": Stored(kind="frames", width=1, dtype="float16"),
    "energy": Stored(kind="frames", width=1, dtype="float16"),
    "phonemes": Stored(kind="frames", width=1, dtype="int32"),
    "durations": Stored(kind="frames", width=2, dtype="int32"),
    "lips": Stored(kind="frames", width=512, dtype="float16"),
    "speaker": Stored(kind="vector", width=256, dtype="float32"),
    **{f"{m}_emotion": Stored(kind="vector", width=WIDTHS[m], dtype="float32") for m in MODALITIES},
}


class Made:
    """Random features of clips between 1 and ``seconds`` seconds, as the packer asks for them."""

    def __init__(self, clips: int, seconds: float) -> None:
        self.kinds = KINDS
        draw = np.random.default_rng(0)
        self.features: list[dict[str, NDArray[Any]]] = []
        for _ in range(clips):
            pictures = int(draw.integers(25, round(25 * seconds) + 1))
            frames, phones = 4 * pictures, max(2, pictures // 3)
            durations = np.full(phones, frames // phones)
            durations[0] += frames - durations.sum()
            ids = draw.integers(1, 80, phones)

            def normal(*shape: int) -> NDArray[np.float32]:
                return draw.standard_normal(shape, dtype=np.float32)

            self.features.append(
                {
                    "mel": normal(frames, 80) - 5,
                    "f0": np.abs(normal(frames, 1)) * 50 + 100,
                    "energy": np.abs(normal(frames, 1)),
                    "phonemes": ids[:, None].astype(np.int32),
                    "durations": np.stack([ids, durations], axis=1).astype(np.int32),
                    "lips": normal(pictures, 512),
                    "speaker": normal(256),
                    **{f"{m}_emotion": normal(WIDTHS[m]) for m in MODALITIES},
                }
            )
        self.audio = draw.standard_normal((clips, WIDTHS["audio"]), dtype=np.float32)
        self.hits = {m: draw.integers(0, clips, (clips, LISTED)) for m in MODALITIES}
        self.scores = np.sort(draw.random((clips, LISTED), dtype=np.float32), axis=1)[:, ::-1]
        self.lender = draw.integers(0, clips, clips)

    def values(self, name: str, clip_ids: Sequence[str]) -> list[NDArray[Any] | None]:
        return [self.features[int(clip_id)][name] for clip_id in clip_ids]


def packed(root: Path, made: Made) -> Pack:
    """The clips as a pack."""
    ids = [f"{n:06d}" for n in range(len(made.features))]
    parts = root / FOLDER / PARTS
    (root / FOLDER / "bench").mkdir(parents=True)
    parts.mkdir()
    moved: dict[str, float] = {}
    _write_part(
        parts / "part.arrow",
        source=made,  # type: ignore[arg-type]
        clip_ids=ids,
        contents=dict.fromkeys(ids, ""),
        moved=moved,
    )
    widths = {"speaker_vector": 256, "audio": WIDTHS["audio"]}
    columns: dict[str, Any] = {
        "clip_id": ids,
        "row": range(len(ids)),
        "split": ["train"] * len(ids),
        "voice": ["voice"] * len(ids),
        "is_line": [True] * len(ids),
        "mel_frames": [len(own["mel"]) for own in made.features],
        "emotion": [0] * len(ids),
        "previous": [-1] * len(ids),
        "following": [-1] * len(ids),
        "timbres": [[int(n)] for n in made.lender],
        "speaker_vector": _vectors([own["speaker"] for own in made.features], KINDS["speaker"]),
        "audio": _vectors(list(made.audio), Stored(kind="vector", width=1024, dtype="float32")),
    }
    for m in MODALITIES:
        columns[f"{m}_hits"] = [row[:HITS].tolist() for row in made.hits[m]]
        columns[f"{m}_scores"] = [row[:HITS].tolist() for row in made.scores]
    links = pa.table(columns, schema=_link_schema(widths))
    place = root / FOLDER / "bench" / LINKS
    _write_ipc(place, links.schema, links.to_batches())
    record = PackRecord(
        pack="bench",
        keys={},
        features={name: {} for name in KINDS},
        parts=(_file(root / FOLDER, parts / "part.arrow", len(ids)),),
        links=_file(root / FOLDER, place, len(ids)),
        splits={"train": len(ids)},
        left_out={},
    )
    return Pack(root / FOLDER, record)


def write_reference(root: Path, made: Made) -> None:
    """The clips as the dubbing repositories keep them: 29 arrays and 3 lists per item."""
    for number, own in enumerate(made.features):
        folder = root / f"{number:06d}"
        folder.mkdir(parents=True)
        np.save(folder / "timbre.npy", made.features[made.lender[number]]["mel"])
        for name in ("mel", "f0", "energy", "phonemes", "durations", "lips", "speaker"):
            np.save(folder / f"{name}.npy", own[name])
        for m in MODALITIES:
            np.save(folder / f"{m}.npy", own[f"{m}_emotion"])
            listed = made.hits[m][number]
            for rank, hit in enumerate(listed[:HITS]):
                np.save(folder / f"{m}_hit{rank}.npy", made.features[hit][f"{m}_emotion"])
                np.save(folder / f"{m}_hit{rank}_audio.npy", made.audio[hit])
            rows = [
                {"clip": f"{hit:06d}", "score": float(score)}
                for hit, score in zip(listed, made.scores[number], strict=True)
            ]
            (folder / f"{m}.json").write_text(json.dumps(rows))


def reference_line(folder: Path) -> DubbingLine:
    """One item of the reference layout, every file of it opened."""
    own = {
        name: np.load(folder / f"{name}.npy")
        for name in ("timbre", "mel", "f0", "energy", "phonemes", "durations", "lips", "speaker")
    }
    hits = {}
    for m in MODALITIES:
        listed = json.loads((folder / f"{m}.json").read_text())
        hits[m] = Hits(
            vectors=np.stack([np.load(folder / f"{m}_hit{rank}.npy") for rank in range(HITS)]),
            audio=np.stack([np.load(folder / f"{m}_hit{rank}_audio.npy") for rank in range(HITS)]),
            scores=np.array([row["score"] for row in listed[:HITS]], dtype=np.float32),
        )
    return DubbingLine(
        clip_id=folder.name,
        speaker="voice",
        phonemes=own["durations"][:, 0],
        mel_frames=len(own["mel"]),
        speaker_vector=own["speaker"],
        timbres=[own["timbre"]],
        lips=own["lips"],
        durations=own["durations"][:, 1],
        mel=own["mel"],
        f0_hz=own["f0"][:, 0],
        energy=own["energy"][:, 0],
        emotion=0,
        vectors={m: np.load(folder / f"{m}.npy") for m in MODALITIES},
        hits=hits,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=int, default=600)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    made = Made(options.clips, options.seconds)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        pack = packed(root / "pack", made)
        write_reference(root / "files", made)
        lines = pack.lines("train")
        frames = lines.mel_frames.tolist()
        config = BatchingConfig(frames_per_batch=10**9, lines_per_batch=BATCH)
        batches = epoch_batches(frames, config, seed=0, epoch=0)
        scaler, widths = FeatureScaler.fit(lines), widths_of(lines, AudioSpec())
        folders = [root / "files" / clip_id for clip_id in lines.clip_ids]

        def of_pack(numbers: Sequence[int]) -> list[DubbingLine]:
            return [lines[n] for n in numbers]

        def of_files(numbers: Sequence[int]) -> list[DubbingLine]:
            return [reference_line(folders[n]) for n in numbers]

        def batch(some: list[DubbingLine]) -> DubbingBatch:
            return collate(some, scaler, widths, timbre_frames=400)

        near = zip(batch(of_pack(batches[0])), batch(of_files(batches[0])), strict=True)
        for one, other in near:
            if isinstance(one, torch.Tensor):
                torch.testing.assert_close(one, other, atol=0.02, rtol=0.02)  # float16 frames

        def seconds(run: Callable[[], object]) -> float:
            start = time.perf_counter()
            run()
            return time.perf_counter() - start

        ways: dict[str, Callable[[], object]] = {
            "files, opened and read": lambda: [of_files(b) for b in batches],
            "files, as batches": lambda: [batch(of_files(b)) for b in batches],
            "pack, lines of views": lambda: [of_pack(b) for b in batches],
            "pack, as batches": lambda: [batch(of_pack(b)) for b in batches],
        }
        best = dict.fromkeys(ways, float("inf"))
        for _ in range(options.rounds):
            for name, run in ways.items():
                best[name] = min(best[name], seconds(run))
        size = sum(f.stat().st_size for f in (root / "files").rglob("*") if f.is_file())
        own = sum(f.stat().st_size for f in (root / "pack").rglob("*") if f.is_file())
        print(f"{len(lines)} clips of 1 to {options.seconds} s, batches of {BATCH}, warm cache")
        print(f"files: {size / 2**20:.0f} MiB; pack: {own / 2**20:.0f} MiB\n")
        for name, time_s in best.items():
            ratio = best["files, as batches"] / time_s
            print(f"{name:24} {len(lines) / time_s:9.0f} items/s {ratio:6.1f}×")


if __name__ == "__main__":
    main()
