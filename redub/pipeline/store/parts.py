"""A table is a folder of Parquet parts and a numbered commit log; only the log says what exists.

    <table>/part-….parquet            written once, never changed
    <table>/commits/00000001.json     {"number", "parts": [{"name", "rows", …}], "previous"}

``previous`` is the SHA-256 of the record before, so a missing or edited record is noticed. A file
that no commit names is never read. Records hold no time, pid or host: the same work gives the
same bytes, and the kill tests compare them.

Parquet alone does not detect a flipped bit. So pages carry checksums, and every part is hashed
against its record before its first use in a process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from redub.core.durable import commit_file, commit_json, file_digest, read_json
from redub.core.errors import IntegrityError

FORMAT = 1
REPAIR = "`redub cache repair` has it computed again"


@dataclass(frozen=True, slots=True)
class PartRecord:
    """One part as its commit names it; ``shard`` names the group of clips in it."""

    name: str
    rows: int
    sha256: str
    shard: str


@dataclass(frozen=True, slots=True)
class CommitRecord:
    """One commit: its number from 1, its parts, and the SHA-256 of the record before."""

    number: int
    parts: tuple[PartRecord, ...]
    previous: str


class PartTable:
    """Append-only rows of one schema, readable only through their commits.

    ``later``: columns that older versions did not write, with the value for their rows.
    """

    def __init__(
        self, root: Path, schema: pa.Schema, *, later: Mapping[str, str | bool] | None = None
    ) -> None:
        self.root = root
        self.schema = schema
        self._later = later or {}
        self._commits: list[CommitRecord] | None = None
        self._last_digest = ""
        self._verified: set[str] = set()

    def write_part(self, name: str, table: pa.Table, *, shard: str) -> PartRecord:
        """Write rows to disk without a commit; the same rows give the same bytes."""
        target = self.root / name
        table = table.cast(self.schema)
        commit_file(
            target,
            lambda temp: pq.write_table(
                table,
                temp,
                compression="zstd",
                write_page_checksum=True,
                store_schema=True,
                use_dictionary=False,
                row_group_size=max(1, table.num_rows),
            ),
        )
        return PartRecord(name, table.num_rows, file_digest(target), shard)

    def commit(self, parts: Sequence[PartRecord]) -> CommitRecord:
        """Commit parts in one record: afterwards all of them are readable, or none."""
        number = len(self.commits()) + 1
        record = CommitRecord(number, tuple(parts), self._last_digest)
        path = self._record_path(number)
        commit_json(path, {"format": FORMAT, **asdict(record)})
        self._commits = [*self.commits(), record]
        self._last_digest = file_digest(path)
        return record

    def commits(self) -> list[CommitRecord]:
        """All records in order, after a check of their chain.

        Raises:
            IntegrityError: a record is missing, edited, or from a newer redub.
        """
        if self._commits is None:
            self._commits, self._last_digest = self._read_log()
        return self._commits

    def parts(self) -> list[PartRecord]:
        """Committed parts in order; a part committed twice is listed once, at its last place."""
        latest: dict[str, PartRecord] = {}
        for commit in self.commits():
            for part in commit.parts:
                latest.pop(part.name, None)
                latest[part.name] = part
        return list(latest.values())

    def ends_with(self, name: str) -> bool:
        """Whether the newest commit holds this part, so that a run need not commit it again.

        An older commit of the same rows does not count: a later one may have replaced them.
        """
        commits = self.commits()
        return bool(commits) and any(part.name == name for part in commits[-1].parts)

    def read(
        self, columns: Sequence[str] | None = None, *, shards: Iterable[str] | None = None
    ) -> pa.Table:
        """Committed rows in commit order.

        Args:
            columns: only these columns; all by default.
            shards: only rows of these shards; all by default.

        Raises:
            IntegrityError: a part is missing or its bytes are not the committed ones.
        """
        wanted = None if shards is None else set(shards)
        tables = [
            self._read_part(part, columns)
            for part in self.parts()
            if wanted is None or part.shard in wanted
        ]
        if tables:
            return pa.concat_tables(tables)
        schema = self.schema
        if columns is not None:
            schema = pa.schema([self.schema.field(name) for name in columns])
        return schema.empty_table()

    def read_one(self, part: PartRecord, columns: Sequence[str] | None) -> pa.Table:
        """The rows of one committed part.

        Raises:
            IntegrityError: the part is missing or its bytes are not the committed ones.
        """
        return self._read_part(part, columns)

    def is_whole(self, part: PartRecord) -> bool:
        """Whether a committed part exists with its committed bytes."""
        path = self.root / part.name
        return path.is_file() and file_digest(path) == part.sha256

    def verify(self) -> list[str]:
        """Read every committed part again; return one sentence per damaged part."""
        self._verified.clear()
        self._commits = None
        wrong = []
        for part in self.parts():
            try:
                self._read_part(part, None)
            except IntegrityError as error:
                wrong.append(str(error))
        return wrong

    def _read_part(self, part: PartRecord, columns: Sequence[str] | None) -> pa.Table:
        path = self.root / part.name
        try:
            if part.name not in self._verified:
                found = file_digest(path)
                if found != part.sha256:
                    raise IntegrityError(
                        f"{path} holds other bytes than were committed "
                        f"(found {found[:12]}, committed {part.sha256[:12]}, "
                        f"shard {part.shard}); {REPAIR}"
                    )
                self._verified.add(part.name)
            table = pq.read_table(
                path,
                columns=None if columns is None else list(columns),
                page_checksum_verification=True,
                memory_map=False,
                use_threads=False,
                partitioning=None,
            )
        except FileNotFoundError:
            raise IntegrityError(
                f"{path} was committed but is gone (shard {part.shard}); {REPAIR}",
                code="E-INT-GONE",
            ) from None
        except (OSError, pa.ArrowException) as error:
            raise IntegrityError(f"{path} cannot be read: {error}; {REPAIR}") from error
        if table.num_rows != part.rows:
            raise IntegrityError(
                f"{path} has {table.num_rows} rows, committed were {part.rows}; {REPAIR}"
            )
        return self._with_later(table, self.schema.names if columns is None else columns)

    def _with_later(self, table: pa.Table, wanted: Sequence[str]) -> pa.Table:
        """Add the wanted columns that an older redub did not write, with their default."""
        missing = [
            name for name in self._later if name in wanted and name not in table.column_names
        ]
        if not missing:
            return table
        for name in missing:
            column = pa.array([self._later[name]] * table.num_rows, self.schema.field(name).type)
            table = table.append_column(name, column)
        return table.select(list(wanted))

    def _record_path(self, number: int) -> Path:
        return self.root / "commits" / f"{number:08d}.json"

    def _read_log(self) -> tuple[list[CommitRecord], str]:
        folder = self.root / "commits"
        names = sorted(p.name for p in folder.glob("[0-9]*.json")) if folder.is_dir() else []
        records: list[CommitRecord] = []
        previous = ""
        for number, name in enumerate(names, start=1):
            path = folder / name
            if path != self._record_path(number):
                raise IntegrityError(
                    f"{folder}: commit {number} is missing, found {name}; {REPAIR}",
                    code="E-INT-LOG",
                )
            content = path.read_bytes()
            records.append(_parse(path, _record(path), number, previous))
            previous = hashlib.sha256(content).hexdigest()
        return records, previous


def _record(path: Path) -> Any:
    try:
        return read_json(path)
    except IntegrityError as error:
        raise IntegrityError(f"{error.message}; {REPAIR}", code=error.code) from error


def _parse(path: Path, value: Any, number: int, previous: str) -> CommitRecord:
    try:
        if value["format"] > FORMAT:
            raise IntegrityError(
                f"{path} was written by a newer redub (format {value['format']}, this one "
                f"reads up to {FORMAT}); update redub",
                code="E-INT-NEWER",
            )
        parts = tuple(PartRecord(**part) for part in value["parts"])
        record = CommitRecord(value["number"], parts, value["previous"])
    except (KeyError, TypeError) as error:
        raise IntegrityError(
            f"{path} is damaged ({error!r}); {REPAIR}", code="E-INT-LOG"
        ) from error
    if record.number != number or record.previous != previous:
        raise IntegrityError(
            f"{path} does not follow the commit before it; {REPAIR}", code="E-INT-LOG"
        )
    return record
