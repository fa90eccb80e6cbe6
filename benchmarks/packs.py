"""Items per second into collated batches: from a pack, and from one file per feature and clip.

    python benchmarks/packs.py [--clips 600] [--seconds 4] [--rounds 5] [--large 8000]

The reference layout is how the dubbing repositories keep and read their data. Per item: 8 arrays
of its own and 3 query vectors, ``.npy`` files in a folder per feature; 3 JSON lists of 100 hits,
the first 3 are looked up by file name: 18 vectors more. Both ways hold the same numbers at
the paper's widths (the pack's frames are float16) and end in the same batches, made by the same
code; "padded by numpy" leaves the standardising out, as the repositories do. A batch is dropped
when the next one is made. Ways take turns; the fastest round counts, in wall and processor time.
One thread, but where it says two.

Warm: everything was read before. Cold: before each round the kernel drops the pages of every file
(``posix_fadvise``, DONTNEED); mapping the pack again counts, and so do the disk's reads. Large: a
pack of ``--large`` clips, read cold in a process that may allocate 256 MiB more than it has when it
starts (``RLIMIT_DATA``; the page cache is not limited).
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from redub.core.columns import encode
from redub.core.durable import commit_json
from redub.core.types import MODALITIES, AudioSpec
from redub.model.batch import DubbingBatch
from redub.pipeline.store.packs.build import LINKS, RECORD
from redub.pipeline.store.packs.links import _link_schema
from redub.pipeline.store.packs.parts import (
    FOLDER,
    PARTS,
    Stored,
    _write_part,
    pack_file,
    write_ipc,
)
from redub.training.data.batching import BatchingConfig, chosen, collate, epoch_batches, widths_of
from redub.training.data.columns import columns_of
from redub.training.data.lines import FeatureScaler, Hits, Utterance
from redub.training.data.pack import Pack, PackRecord, read_record, record_document
from redub.training.data.pack_lines import PackedLines

HITS, LISTED, BATCH = 3, 100, 16
PAPER = {"lips": 512, "speaker": 256, "scene": 1024, "face": 1024, "text": 2048, "audio": 1024}
"""Widths of the paper profile."""


def vector(width: int) -> Stored:
    return Stored(kind="vector", width=width, dtype="float32")


def kinds_of(widths: Mapping[str, int]) -> dict[str, Stored]:
    """What a part stores, as the packer decides it."""
    return {
        "mel": Stored(kind="frames", width=80, dtype="float16"),
        "f0": Stored(kind="frames", width=1, dtype="float16"),
        "energy": Stored(kind="frames", width=1, dtype="float16"),
        "phonemes": Stored(kind="frames", width=1, dtype="int32"),
        "durations": Stored(kind="frames", width=2, dtype="int32"),
        "lips": Stored(kind="frames", width=widths["lips"], dtype="float16"),
        "speaker": vector(widths["speaker"]),
        **{f"{m}_emotion": vector(widths[m]) for m in MODALITIES},
    }


class Made:
    """Random features of clips of some lengths, as the packer asks for them.

    After the last of ``pictures`` the features start again from the first: what is stored of a
    large library is as much as of a real one, what is kept here is not.
    """

    def __init__(
        self, clips: int, pictures: Sequence[int], widths: Mapping[str, int] = PAPER
    ) -> None:
        self.kinds, self.clips, self.widths = kinds_of(widths), clips, widths
        draw = np.random.default_rng(0)
        self.features: list[dict[str, NDArray[Any]]] = []
        for count in pictures[:clips]:
            frames, phones = 4 * count, max(2, count // 3)
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
                    "lips": normal(count, widths["lips"]),
                    "speaker": normal(widths["speaker"]),
                    **{f"{m}_emotion": normal(widths[m]) for m in MODALITIES},
                    "audio": normal(widths["audio"]),
                }
            )
        self.hits = {m: draw.integers(0, clips, (clips, LISTED)) for m in MODALITIES}
        self.scores = np.sort(draw.random((clips, LISTED), dtype=np.float32), axis=1)[:, ::-1]
        self.lender = draw.integers(0, clips, clips)

    def of(self, number: int) -> dict[str, NDArray[Any]]:
        return self.features[number % len(self.features)]

    def values(self, name: str, clip_ids: Sequence[str]) -> list[NDArray[Any] | None]:
        return [self.of(int(clip_id))[name] for clip_id in clip_ids]


def write_pack(root: Path, made: Made) -> None:
    """The clips as a pack, by the packer's own functions."""
    ids = [f"{n:06d}" for n in range(made.clips)]
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
    speaker, audio = vector(made.widths["speaker"]), vector(made.widths["audio"])
    columns: dict[str, Any] = {
        "clip_id": ids,
        "row": range(len(ids)),
        "split": ["train"] * len(ids),
        "voice": ["voice"] * len(ids),
        "is_line": [True] * len(ids),
        "mel_frames": [len(made.of(n)["mel"]) for n in range(made.clips)],
        "emotion": [0] * len(ids),
        "previous": [-1] * len(ids),
        "following": [-1] * len(ids),
        "reference_mels": [[int(n)] for n in made.lender],
        "speaker_vector": encode(made.values("speaker", ids), speaker.arrow),
        "audio": encode(made.values("audio", ids), audio.arrow),
    }
    for m in MODALITIES:
        columns[f"{m}_hits"] = [row[:HITS].tolist() for row in made.hits[m]]
        columns[f"{m}_scores"] = [row[:HITS].tolist() for row in made.scores]
    links = pa.table(
        columns, schema=_link_schema({"speaker_vector": speaker.width, "audio": audio.width})
    )
    place = root / FOLDER / "bench" / LINKS
    write_ipc(place, links.schema, links.to_batches())
    record = PackRecord(
        pack="bench",
        keys={},
        features={name: {} for name in made.kinds},
        modalities={m: f"{m}_emotion" for m in MODALITIES},
        parts=(pack_file(root / FOLDER, parts / "part.arrow", len(ids)),),
        links=pack_file(root / FOLDER, place, len(ids)),
        splits={"train": len(ids)},
        left_out={},
    )
    commit_json(root / FOLDER / "bench" / RECORD, record_document(record))


def write_reference(root: Path, made: Made) -> None:
    """The clips as the dubbing repositories keep them: a folder per feature, a file per clip."""
    for name in (*made.features[0], "timbre", *(f"{m}_top100" for m in MODALITIES)):
        (root / name).mkdir(parents=True)
    for number in range(made.clips):
        own = made.of(number)
        for name, value in own.items():
            is_emotion = name.endswith("_emotion") or name == "audio"
            np.save(root / name / f"{number:06d}.npy", value[None] if is_emotion else value)
        np.save(root / "timbre" / f"{number:06d}.npy", made.of(made.lender[number])["mel"])
        for m in MODALITIES:
            listed = zip(made.hits[m][number], made.scores[number], strict=True)
            rows = [{"file_name": f"{hit:06d}.npy", "score": float(score)} for hit, score in listed]
            (root / f"{m}_top100" / f"{number:06d}.json").write_text(json.dumps(rows))


def reference_line(root: Path, clip: str) -> Utterance:
    """One item of the reference layout: 29 arrays and 3 lists are opened and read."""
    own = {
        name: np.load(f"{root}/{name}/{clip}.npy")
        for name in ("timbre", "mel", "f0", "energy", "phonemes", "durations", "lips", "speaker")
    }
    vectors, hits = {}, {}
    for m in MODALITIES:
        vectors[m] = np.load(f"{root}/{m}_emotion/{clip}.npy")[0]
        with open(f"{root}/{m}_top100/{clip}.json") as file:
            best = json.load(file)[:HITS]
        names = [row["file_name"] for row in best]
        hits[m] = Hits(
            vectors=np.vstack([np.load(f"{root}/{m}_emotion/{name}") for name in names]),
            audio=np.vstack([np.load(f"{root}/audio/{name}") for name in names]),
            scores=np.array([row["score"] for row in best], dtype=np.float32),
        )
    return Utterance(
        clip_id=clip,
        speaker="voice",
        phonemes=own["durations"][:, 0],
        mel_frames=len(own["mel"]),
        speaker_vector=own["speaker"],
        reference_mels=[own["timbre"]],
        lips=own["lips"],
        durations=own["durations"][:, 1],
        mel=own["mel"],
        f0_hz=own["f0"][:, 0],
        energy=own["energy"][:, 0],
        emotion=0,
        vectors=vectors,
        hits=hits,
    )


def padded_by_numpy(lines: Sequence[Utterance]) -> list[torch.Tensor]:
    """What the repositories' own collate does: ``np.pad`` per item, stack, to torch."""

    def together(rows: Sequence[NDArray[Any]]) -> torch.Tensor:
        longest = max(map(len, rows))
        padded = [np.pad(r, [(0, longest - len(r)), *[(0, 0)] * (r.ndim - 1)]) for r in rows]
        return torch.from_numpy(np.stack(padded))

    names = ("phonemes", "durations", "mel", "lips", "f0_hz", "energy", "speaker_vector")
    batch = [together([getattr(line, name) for line in lines]) for name in names]
    batch.append(together([line.reference_mels[0] for line in lines]))
    for m in MODALITIES:
        batch.append(together([line.vectors[m] for line in lines]))
        batch.append(together([line.hits[m].vectors for line in lines]))
        batch.append(together([line.hits[m].audio for line in lines]))
    return batch


class Took(NamedTuple):
    """Seconds of one round, and MiB that it made the disk read."""

    wall_s: float
    cpu_s: float
    read_mib: float


def took(run: Callable[[], object]) -> Took:
    blocks = resource.getrusage(resource.RUSAGE_SELF).ru_inblock
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    run()
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    blocks = resource.getrusage(resource.RUSAGE_SELF).ru_inblock - blocks
    return Took(wall_s, cpu_s, blocks * 512 / 2**20)


def forget(root: Path) -> None:
    """Let the kernel drop the pages of every file; it keeps pages that are mapped."""
    gc.collect()
    for path in root.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def size_mib(root: Path) -> float:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) / 2**20


class Reader:
    """Both layouts of the same clips, and the batches to read."""

    def __init__(self, root: Path) -> None:
        self.root = root
        lines = self.mapped()
        config = BatchingConfig(frames_per_batch=10**9, lines_per_batch=BATCH)
        self.items = len(lines)
        self.batches = epoch_batches(lines.mel_frames.tolist(), config, seed=0, epoch=0)
        self.scaler = FeatureScaler.fit(lines[:600])
        self.widths = widths_of(lines, AudioSpec())
        self.clip_ids = lines.clip_ids

    def mapped(self) -> PackedLines:
        place = self.root / "pack" / FOLDER
        return Pack(place, read_record(place / "bench" / RECORD)).lines("train")

    def from_files(self, numbers: Sequence[int]) -> list[Utterance]:
        return [reference_line(self.root / "files", self.clip_ids[n]) for n in numbers]

    def batch(self, lines: Sequence[Utterance]) -> DubbingBatch:
        return collate(lines, self.scaler, self.widths, reference_frames=400)

    def each(self, make: Callable[[list[int]], object]) -> None:
        """Make every batch; one is alive while the next is made, as in training."""
        kept = None
        for numbers in self.batches:
            kept = make(numbers)
        del kept

    def check_same(self, lines: PackedLines) -> None:
        """Both ways end in the same batch, but for what float16 takes from the frames."""
        numbers = self.batches[0]
        one, other = self.batch(chosen(lines, numbers)), self.batch(self.from_files(numbers))
        for packed, read in zip(one, other, strict=True):
            if isinstance(packed, torch.Tensor):
                torch.testing.assert_close(packed, read, atol=0.02, rtol=0.02)


ROW = "{:36} {:>9} {:>7} {:>9} {:>7} {:>9}"


def show(table: dict[str, Took], against: str, items: int) -> None:
    """One line per way: items per second and ratio, by wall time and by processor time."""
    base = table[against]
    print(ROW.format("", "items/s", "ratio", "per CPU s", "ratio", "MiB read"))
    for name, own in table.items():
        wall, cpu = base.wall_s / own.wall_s, base.cpu_s / own.cpu_s
        row = (f"{items / own.wall_s:.0f}", f"{wall:.1f}", f"{items / own.cpu_s:.0f}", f"{cpu:.1f}")
        print(ROW.format(name, *row, f"{own.read_mib:.0f}"))
    print(flush=True)


def fastest(ways: dict[str, Callable[[], Took]], rounds: int) -> dict[str, Took]:
    """Rounds of all ways in turn; of each, the least wall and the least processor time."""
    rows: dict[str, list[Took]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, run in ways.items():
            rows[name].append(run())
    return {name: Took(*map(min, zip(*own, strict=True))) for name, own in rows.items()}


def warm(reader: Reader, rounds: int) -> None:
    lines = reader.mapped()
    reader.check_same(lines)
    ways: dict[str, Callable[[list[int]], object]] = {
        "files, opened and read": reader.from_files,
        "files, as batches": lambda n: reader.batch(reader.from_files(n)),
        "files, padded by numpy": lambda n: padded_by_numpy(reader.from_files(n)),
        "pack, lines of views": lambda n: [lines[place] for place in n],
        "pack, columns of views": lambda n: columns_of(lines.take(n), reference_frames=400),
        "pack, as batches": lambda n: reader.batch(chosen(lines, n)),
    }

    def round_of(make: Callable[[list[int]], object]) -> Callable[[], Took]:
        return lambda: took(lambda: reader.each(make))

    def on_two() -> Took:
        torch.set_num_threads(2)
        own = round_of(ways["pack, as batches"])()
        torch.set_num_threads(1)
        return own

    print(f"warm cache, {reader.items} clips, batches of {BATCH}")
    rows = {name: round_of(make) for name, make in ways.items()}
    table = fastest({**rows, "pack, as batches, two threads": on_two}, rounds)
    show(table, "files, as batches", reader.items)


def cold(reader: Reader, rounds: int) -> None:
    def files() -> Took:
        forget(reader.root)
        return took(lambda: reader.each(lambda n: reader.batch(reader.from_files(n))))

    def from_pack() -> None:
        lines = reader.mapped()  # what the kernel reads ahead here is read already
        reader.each(lambda n: reader.batch(chosen(lines, n)))

    def pack() -> Took:
        forget(reader.root)
        return took(from_pack)

    print(f"cold cache, {reader.items} clips, batches of {BATCH}")
    table = fastest({"files, as batches": files, "pack, as batches": pack}, rounds)
    show(table, "files, as batches", reader.items)


def large(root: Path) -> None:
    """Read every batch of a pack under a limit on memory of the process's own."""
    reader = Reader(root)
    forget(root)
    room = _status_mib("VmData") + 256
    resource.setrlimit(resource.RLIMIT_DATA, (int(room * 2**20),) * 2)
    peaks = []
    lines = reader.mapped()
    forget(root)

    def make(numbers: list[int]) -> DubbingBatch:
        peaks.append(_status_mib("RssAnon"))
        return reader.batch(chosen(lines, numbers))

    own = took(lambda: reader.each(make))
    print(f"large pack, cold, {reader.items} clips, {size_mib(root):.0f} MiB")
    print(
        f"{reader.items / own.wall_s:.0f} items/s, {own.read_mib:.0f} MiB read; anonymous memory "
        f"{peaks[0]:.0f} MiB at the start, {max(peaks):.0f} MiB at most",
        flush=True,
    )


def _status_mib(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise KeyError(name)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=600)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--large", type=int, default=8000, help="clips of the large pack")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.read is not None:
        large(options.read)
        return
    pictures = np.random.default_rng(1).integers(25, round(25 * options.seconds) + 1, 600).tolist()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        made = Made(options.clips, pictures)
        write_pack(root / "pack", made)
        write_reference(root / "files", made)
        files, pack = size_mib(root / "files"), size_mib(root / "pack")
        print(f"clips of 1 to {options.seconds} s; files {files:.0f} MiB, pack {pack:.0f} MiB\n")
        reader = Reader(root)
        warm(reader, options.rounds)
        cold(reader, options.rounds)
    with tempfile.TemporaryDirectory() as scratch:
        write_pack(Path(scratch) / "pack", Made(options.large, pictures))
        subprocess.run([sys.executable, __file__, "--read", scratch], check=True)


if __name__ == "__main__":
    main()
