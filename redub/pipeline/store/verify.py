"""Verify every committed byte, and move damaged tables aside so that they are computed again.

Reads all tables, index builds, checkpoints and takes. :func:`repair_store` moves damaged tables to
``.redub/damaged/``.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from redub.core.durable import check_folder, storage_errors
from redub.core.errors import IntegrityError
from redub.pipeline.store.index.build_record import BuildRecord, records_of_builds
from redub.pipeline.store.index.builds import neighbour_tables
from redub.pipeline.store.parts import PartTable
from redub.pipeline.store.project import Project
from redub.pipeline.store.runs.takes import INDEX, TakeIndex
from redub.pipeline.store.runs.vocoders import VOCODER_RUNS
from redub.pipeline.store.schemas import NEIGHBOUR_SCHEMA
from redub.pipeline.store.tables import Store
from redub.pipeline.store.writing import writing
from redub.training import checkpoint
from redub.training.run_files import CHECKPOINTS


@dataclass(frozen=True, slots=True)
class StoreCheck:
    """How many files were read, and one sentence for each damaged file."""

    files: int
    damaged: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StoreRepair:
    """The damaged tables that were moved to ``.redub/damaged``, relative to the project."""

    tables: tuple[str, ...]


def verify_store(project: Project) -> tuple[int, list[str]]:
    """Read all committed files again.

    Features under older settings, and features whose weights are gone, are read too.

    Returns:
        How many files were read, and one sentence per damaged file.
    """
    store = Store(project)
    tables = [store.sources, store.clip_parts, store.quarantine]
    tables += _feature_tables(project)
    tables += [PartTable(path, NEIGHBOUR_SCHEMA) for path in neighbour_tables(project)]
    files, wrong = 0, []
    for table in tables:
        try:
            files += len(table.parts()) + len(table.commits())
            wrong += table.verify()
        except IntegrityError as error:
            wrong.append(str(error))
    for path in records_of_builds(project):
        try:
            record = BuildRecord.read(path)
            files += sum(map(len, record.files.values()))
            record.check_files(project)
        except IntegrityError as error:
            wrong.append(str(error))
    more, bad = _verify_runs(project)
    return files + more, wrong + bad


def _feature_tables(project: Project) -> list[PartTable]:
    """Every feature table, opened without a schema: enough to check bytes."""
    paths = sorted((project.root / "features").glob("*/*"))
    return [PartTable(path, pa.schema([])) for path in paths if path.is_dir()]


def _verify_runs(project: Project) -> tuple[int, list[str]]:
    """Check checkpoints of dubbers and vocoders by their manifests, takes by their index."""
    files, wrong = 0, []
    root = project.root
    for folder in sorted([*(root / "runs").glob("*"), *(root / VOCODER_RUNS).glob("*")]):
        for place in checkpoint.steps_in(folder / CHECKPOINTS):
            files += 1
            try:
                checkpoint.read(place)
            except IntegrityError as error:
                wrong.append(str(error))
        for takes in sorted((folder / "samples").glob(f"*/{INDEX}")):
            try:
                for take in TakeIndex.read(takes).lines:
                    files += len(take.digests)
                    check_folder(takes.parent, take.digests)
            except IntegrityError as error:
                wrong.append(str(error))
    return files, wrong


def repair_store(project: Project) -> list[str]:
    """Move damaged feature and neighbour tables to ``.redub/damaged/``; later runs make new ones.

    The tables of sources, clips and quarantine are moved together, because ingest writes all three
    from the footage. A damaged index is built again by ``redub index build``.

    Returns:
        The moved tables, as paths relative to the project.
    """
    store = Store(project)
    tables = _feature_tables(project)
    tables += [PartTable(path, NEIGHBOUR_SCHEMA) for path in neighbour_tables(project)]
    damaged = [table.root for table in tables if _is_damaged(table)]
    listed = (store.sources, store.clip_parts, store.quarantine)
    if any(_is_damaged(table) for table in listed):
        damaged += [table.root for table in listed if table.root.is_dir()]
    moved = []
    for path in damaged:
        relative = path.relative_to(project.root).as_posix()
        shelf = project.root / ".redub" / "damaged"
        with storage_errors(shelf):
            shelf.mkdir(parents=True, exist_ok=True)
            number = len(list(shelf.iterdir())) + 1
            path.rename(shelf / f"{number:04d}-{relative.replace('/', '-')}")
        moved.append(relative)
    return moved


def _is_damaged(table: PartTable) -> bool:
    try:
        return bool(table.verify())
    except IntegrityError:
        return True


def run_verify(project: Project) -> StoreCheck:
    """Read every committed file again and compare it with its commit; see :func:`verify_store`."""
    files, damaged = verify_store(project)
    return StoreCheck(files, tuple(damaged))


def run_repair(project: Project) -> StoreRepair:
    """Move damaged tables away, under the project lock; see :func:`repair_store`."""
    with writing(project, "repair"):
        return StoreRepair(tuple(repair_store(project)))
