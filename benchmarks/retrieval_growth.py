"""Ten clips more in a library of N: what `redub index build` does, part by part, in seconds.

    python benchmarks/retrieval_growth.py                        # N = 10,000
    python benchmarks/retrieval_growth.py --rows 1000000 --keep DIR --kind embeddings

One modality; a project has three. The committed segment is an index of ``retrieval.py``, from the
folder DIR where that left it. Parts marked "N" are done again for every clip of the library
at every build, those marked "new" for the ten only. "x" says how often a build does the part.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from retrieval_rows import KINDS, QUERIES, draw_rows, kept_index

from redub.core.config import digest_of
from redub.core.types import Clip, FloatArray
from redub.index.base import IndexRecord, read_record, write_file
from redub.index.library import LibraryTable
from redub.index.segments import NAMES, LiveSegments, Segment, SegmentRecord, read_names
from redub.pipeline.files import file_digest
from redub.pipeline.keys import media_digest, row_digest, text_digest
from redub.pipeline.store import clip_table

NEW = 10
R = TypeVar("R")
ROW = "{:>9} {:44} {:>4} {:>2} {:>9} {:>9}"


def clips(count: int) -> list[Clip]:
    return [
        Clip(
            clip_id=f"film{k // 2000:04d}_scene{k // 20:06d}_line{k % 20:02d}",
            source=f"film{k // 2000:04d}.mkv",
            source_digest=f"{k // 2000:064x}",
            start_frame=50 * k,
            end_frame=50 * k + 49,
            film=f"film{k // 2000:04d}",
            scene=f"scene{k // 20:06d}",
            position=k % 20,
            speaker=f"speaker{k % 37}",
            text="It was never about the money, was it?",
        )
        for k in range(count)
    ]


def digest(clip: Clip) -> str:
    return row_digest(media_digest(clip), text_digest(clip), True, True)


def document(library: list[Clip]) -> None:
    """As the build names itself: every clip's facts and the digests of its four features."""
    for clip in library:
        digest_of([asdict(clip), [digest(clip) for _ in range(4)]], digits=64)


def segment_record(folder: Path, library: list[Clip]) -> SegmentRecord:
    """Give a kept index the names of clips, as a segment of a project has them."""
    names = pa.table({"clip_id": [c.clip_id for c in library], "digest": [*map(digest, library)]})
    return SegmentRecord(
        modality="face",
        feature_key="",
        halves=False,
        names=write_file(
            folder, NAMES, lambda path: pq.write_table(names, path, compression="zstd")
        ),
        index=read_record(IndexRecord, (folder / "record.json").read_text()),
    )


def save_new(folder: Path, new: list[Clip], vectors: FloatArray) -> Segment:
    segment = Segment.build("face", [c.clip_id for c in new], [*map(digest, new)], vectors)
    return Segment.load(folder, segment.save(folder))


@dataclass
class Parts:
    """Runs and prints the parts of one build, and adds them up."""

    count: int
    total_s: float = 0.0

    def run(self, name: str, of: str, work: Callable[[], R], *, times: int = 1) -> R:
        start, cpu = time.perf_counter(), time.process_time()
        result = work()
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        self.total_s += times * cpu
        print(ROW.format(self.count, name, times, of, f"{cpu:.3f}", f"{seconds:.3f}"), flush=True)
        return result


def measure(count: int, width: int, kind: str, keep: Path) -> None:
    kept_index(count, width, kind, keep)
    folder = keep / f"{kind}-{count}-{width}"
    everyone = clips(count + NEW)
    library, new = everyone[:count], everyone[count:]
    record = segment_record(folder, library)
    vectors = draw_rows(NEW, width, kind, QUERIES)
    parts = Parts(count)
    parts.run("digest of every clip's facts (_document)", "N", lambda: document(everyone))
    wanted = parts.run(
        "input digest of every clip (_wanted)",
        "N",
        lambda: {c.clip_id: digest(c) for c in everyone},
    )
    table = parts.run("LibraryTable.from_clips", "N", lambda: LibraryTable.from_clips(everyone))
    files = [folder / NAMES, *(folder / file.name for file in record.index.files)]
    parts.run(
        "SHA-256 of the kept segment's files", "N", lambda: [*map(file_digest, files)], times=2
    )
    parts.run("names of the kept segment", "N", lambda: read_names(folder, record))
    with tempfile.TemporaryDirectory(dir=keep) as name:
        place = Path(name)
        fresh = parts.run(
            "new segment: built, saved, opened", "10", lambda: save_new(place, new, vectors)
        )
        parts.run(
            "clip rows of the library, written",
            "N",
            lambda: pq.write_table(
                clip_table(everyone, [""] * len(everyone), 25), place / "clips.parquet"
            ),
        )
        old = parts.run(
            "kept segment: hashed again and opened", "N", lambda: Segment.load(folder, record)
        )
        order = table.clip_id.tolist()
        parts.run("rows placed", "N", lambda: LiveSegments.of([old, fresh], wanted, order))
    print(ROW.format(count, "all, one modality", "", "", f"{parts.total_s:.3f}", ""))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000])
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--kind", default="embeddings", choices=KINDS)
    parser.add_argument("--keep", type=Path, help="folder for indexes that later runs load")
    options = parser.parse_args()
    print(ROW.format("rows", "part", "x", "of", "CPU s", "wall s"))
    with tempfile.TemporaryDirectory() as folder:
        for count in options.rows:
            measure(count, options.width, options.kind, options.keep or Path(folder))


if __name__ == "__main__":
    main()
