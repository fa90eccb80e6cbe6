"""The weights ledger: the model files that a project's features depend on, with their SHA-256.

Reads and writes ``models.lock``, next to ``redub.toml``. It names each entry's folder, the SHA-256
of every file in it, its licence and its terms. A file that is not in the ledger is never opened,
and a changed file is refused (exit 8). Feature keys contain the digests, so other weights give
other features. ``.redub/weights-seen.json`` caches which files were hashed already.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from redub.core.config import nearest
from redub.core.durable import commit_bytes, commit_json, file_digest, read_json
from redub.core.errors import (
    ConfigError,
    IntegrityError,
    ModelRefusedError,
    StorageError,
    UsageError,
)
from redub.features.weights.folder import WeightFolder, refuse_pointer
from redub.features.weights.kinds import KINDS, WeightKind
from redub.features.weights.packages import PACKAGES

FILE_NAME = "models.lock"
FORMAT = 1
SHA256 = re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

Progress = Callable[[int, int], None]
Seen = dict[str, dict[str, list[int | str]]]  # entry → file → size, mtime in ns, inode, SHA-256


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of the ledger; ``files`` maps posix paths below ``path`` to their SHA-256."""

    name: str
    kind: str
    path: str
    files: dict[str, str] = field(default_factory=dict)
    licence: str = ""
    terms: str = ""
    source: str = ""

    def folder(self) -> WeightFolder:
        """The entry's folder as extractors use it; no file is read."""
        return WeightFolder(
            name=self.name,
            path=Path(self.path),
            files=self.files,
            licence=self.licence,
            terms=self.terms,
        )


@dataclass(frozen=True, slots=True)
class WeightsList:
    """The entries of a ledger."""

    weights: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class WeightsCheck:
    """Entry name to sentences about files that are gone or changed; no sentence: all is right."""

    weights: dict[str, list[str]]


@dataclass(frozen=True)
class Ledger:
    """All entries of a project, by name."""

    root: Path
    entries: Mapping[str, Entry]

    def folder(self, name: str, kind: str) -> WeightFolder:
        """The recorded folder of an entry; no file is read.

        Raises:
            ModelRefusedError: E-MODEL-UNLISTED, no such entry, or an entry of another kind.
        """
        entry = self.entries.get(name)
        if entry is None:
            add = f"`redub weights add {kind} PATH{'' if name == kind else f' --name {name}'}`"
            get = f"`redub weights get {kind}` or " if kind in PACKAGES and name == kind else ""
            raise ModelRefusedError(
                f"no weights '{name}' in {FILE_NAME} ({KINDS[kind].title}); record them with "
                f"{get}{add}",
                code="E-MODEL-UNLISTED",
            )
        if entry.kind != kind:
            raise ModelRefusedError(
                f"weights '{name}' are recorded as '{entry.kind}', wanted '{kind}'",
                code="E-MODEL-UNLISTED",
            )
        return entry.folder()


def read_ledger(root: Path) -> Ledger:
    """Read the ledger of a project; without a file it has no entries.

    Raises:
        IntegrityError: the file is damaged, or a newer redub wrote it.
    """
    path = root / FILE_NAME
    if not path.exists():
        return Ledger(root, {})
    value = read_json(path)
    try:
        if type(value["format"]) is not int or value["format"] < 1:
            raise ValueError(f"'format' is {value['format']!r}, wanted a number")
        if value["format"] > FORMAT:
            raise IntegrityError(
                f"{path} was written by a newer redub (format {value['format']}, this one reads "
                f"up to {FORMAT}); update redub",
                code="E-INT-NEWER",
            )
        entries = {name: _entry(name, line) for name, line in value["weights"].items()}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise IntegrityError(
            f"{path} is damaged: {error}. Correct the entry, or remove it and record it again",
            code="E-INT-LEDGER",
        ) from error
    return Ledger(root, entries)


def _entry(name: str, line: Mapping[str, Any]) -> Entry:
    """Check one entry of the file; raise TypeError or ValueError for a wrong one."""
    for key in ("kind", "path", "licence", "terms", "source"):
        if not isinstance(line.get(key, ""), str):
            raise ValueError(f"'{key}' of '{name}' is {line[key]!r}, wanted text")
    if missing := {"kind", "path", "files"} - line.keys():
        raise ValueError(f"'{name}' has no '{min(missing)}'")
    files = line["files"]
    if not isinstance(files, dict):
        raise ValueError(f"'files' of '{name}' is {files!r}, wanted names with their SHA-256")
    for file, digest in files.items():
        if Path(file).is_absolute() or ".." in Path(file).parts:
            raise ValueError(f"'{file[:80]}' of '{name}' leads out of its folder")
        if not (isinstance(digest, str) and SHA256.fullmatch(digest)):
            raise ValueError(f"'{file}' of '{name}' has the digest {digest!r}, wanted a SHA-256")
    return Entry(name=name, **line)


def _write_ledger(root: Path, entries: Mapping[str, Entry]) -> None:
    lines = {name: asdict(entry) for name, entry in sorted(entries.items())}
    for line in lines.values():
        del line["name"]
    text = json.dumps({"format": FORMAT, "weights": lines}, indent=1, sort_keys=True)
    commit_bytes(root / FILE_NAME, text.encode() + b"\n")


# -- adding and removing


def add_weights(
    root: Path,
    kind: str,
    path: Path,
    *,
    name: str = "",
    licence: str = "",
    terms: str = "",
    source: str = "",
    replace: bool = False,
    progress: Progress = lambda done, total: None,
) -> Entry:
    """Record a folder (or single file) of weights; the caller holds the project lock.

    Args:
        name: of the entry; the kind's name by default.
        licence, terms, source: the kind's by default.
        replace: overwrite an entry of the same name that has other files.
        progress: called with the hashed bytes and all bytes.

    Raises:
        UsageError: an unknown kind, or an illegal name.
        ConfigError: an entry of this name has other files, and ``replace`` is False.
        ModelRefusedError: required files are missing, empty, or git-lfs pointers, or a
            configuration asks to run code.
    """
    if kind not in KINDS:
        raise UsageError(f"unknown kind of weights '{kind}'; {nearest(kind, KINDS)}")
    name = name or kind
    if not NAME.fullmatch(name):
        raise UsageError(
            f"'{name[:80]}' cannot name weights; use up to 64 letters, digits, '-', '_' and '.'"
        )
    base, names = files_of(KINDS[kind], kind, path)
    ledger = read_ledger(root)
    digests, states = _hashed(base, names, progress)
    entry = Entry(
        name=name,
        kind=kind,
        path=str(base),
        files=digests,
        licence=licence or KINDS[kind].licence,
        terms=terms or KINDS[kind].terms,
        source=source or KINDS[kind].source,
    )
    folder = entry.folder()
    for file in names:
        if file.endswith(".json"):
            folder.any_json(file)  # refuses a configuration that asks to run code
    old = ledger.entries.get(name)
    if old is not None and (old.kind, old.files) != (kind, digests) and not replace:
        raise ConfigError(
            f"weights '{name}' are already recorded with other files ({old.path}); add --replace "
            "to change them (what was computed with the old ones is kept under its own key), or "
            "--name for a second entry",
            code="E-CFG-EXISTS",
        )
    _write_ledger(root, {**ledger.entries, name: entry})
    _note_seen(root, entry, states)
    return entry


def _hashed(
    base: Path, names: list[str], progress: Progress
) -> tuple[dict[str, str], dict[str, list[int]]]:
    """SHA-256 of some files, and their states before they were hashed."""
    total = sum((base / file).stat().st_size for file in names)
    done = 0
    digests: dict[str, str] = {}
    states: dict[str, list[int]] = {}
    progress(0, total)
    for file in names:
        states[file] = _state(base / file)
        digests[file] = file_digest(base / file)
        done += (base / file).stat().st_size
        progress(done, total)
    return digests, states


def files_of(kind: WeightKind, kind_name: str, path: Path) -> tuple[Path, list[str]]:
    """Find the files of a kind: their folder, and their posix names below it.

    Raises:
        ModelRefusedError: E-MODEL-FILE, a file is missing, empty or ambiguous; E-MODEL-LFS, a file
            is a git-lfs pointer.
    """
    path = path.expanduser().absolute()
    if path.is_file():
        base = path.parent
        present = [path.name, *(name for name in kind.beside if (base / name).is_file())]
    elif path.is_dir():
        patterns = {p for group in kind.wanted for p in group} | set(kind.optional)
        base = path
        present = sorted(
            {f.relative_to(path).as_posix() for p in patterns for f in path.glob(p) if f.is_file()}
        )
    else:
        raise ModelRefusedError(
            f"{path} does not exist; name the local folder or file that you downloaded",
            code="E-MODEL-FILE",
        )
    fitting = [n for n in present if any(_fits(n, p) for group in kind.wanted for p in group)]
    if kind.single and len(fitting) > 1:
        raise ModelRefusedError(
            f"{path} holds {len(fitting)} files that could be meant ({', '.join(fitting[:3])}); "
            f"name the file itself: `redub weights add {kind_name} {path / fitting[0]}`",
            code="E-MODEL-FILE",
        )
    for group in kind.wanted:
        if not any(_fits(name, pattern) for name in present for pattern in group):
            raise ModelRefusedError(
                f"{path} holds no {' or '.join(group)}; {kind_name} needs it ({kind.source})",
                code="E-MODEL-FILE",
            )
    for name in present:
        refuse_pointer(base / name)
        if (base / name).stat().st_size == 0:
            raise ModelRefusedError(f"{base / name} is empty; copy it again", code="E-MODEL-FILE")
    for name in present:
        if name.endswith(".safetensors.index.json"):
            _check_shards(base, name, present)
    return base, present


def _fits(name: str, pattern: str) -> bool:
    return Path(name).match(pattern)


def _check_shards(base: Path, index: str, present: list[str]) -> None:
    try:
        shards = set(json.loads((base / index).read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelRefusedError(
            f"{base / index} is not an index of shards: {error!r}", code="E-MODEL-FILE"
        ) from error
    missing = sorted(map(str, shards - set(present)))
    if missing:
        raise ModelRefusedError(
            f"{base} lacks {len(missing)} of {len(shards)} shards ({missing[0]}); finish the "
            "download",
            code="E-MODEL-FILE",
        )


def remove_weights(root: Path, name: str) -> Entry:
    """Remove an entry from the ledger; its files stay where they are.

    Raises:
        UsageError: no such entry, with the nearest known one.
    """
    ledger = read_ledger(root)
    if name not in ledger.entries:
        raise UsageError(f"no weights '{name}' in {FILE_NAME}; {nearest(name, ledger.entries)}")
    _write_ledger(root, {k: v for k, v in ledger.entries.items() if k != name})
    return ledger.entries[name]


# -- checking


def checked_folder(ledger: Ledger, name: str, kind: str) -> WeightFolder:
    """The folder of an entry, after a check that its files are the recorded ones.

    A file is not hashed again if its size, modification time and inode are those of its last
    hashing, and that hashing gave the digest that the ledger names now. `redub weights verify`
    hashes all files.

    Raises:
        ModelRefusedError: E-MODEL-UNLISTED, E-MODEL-FILE (gone), E-MODEL-CHANGED.
    """
    folder = ledger.folder(name, kind)
    entry = ledger.entries[name]
    seen = _read_seen(ledger.root).get(name, {})
    states = {file: _state(folder.file(file)) for file in entry.files}
    fresh = [f for f in entry.files if seen.get(f) != [*states[f], entry.files[f]]]
    for file in fresh:
        _check_digest(folder, file)
    if fresh:
        _note_seen(ledger.root, entry, states)
    return folder


def verify_weights(
    ledger: Ledger, names: list[str], progress: Progress = lambda done, total: None
) -> Iterator[tuple[Entry, list[str]]]:
    """Hash every file of some entries again.

    Args:
        progress: called with the checked entries and all entries.

    Yields:
        Each entry with one sentence per wrong file.
    """
    for done, name in enumerate(names):
        progress(done, len(names))
        entry = ledger.entries[name]
        folder, wrong, states = entry.folder(), [], {}
        for file in entry.files:
            try:
                states[file] = _state(folder.file(file))
                _check_digest(folder, file)
            except ModelRefusedError as error:
                wrong.append(str(error))
        if not wrong:
            _note_seen(ledger.root, entry, states)
        yield entry, wrong
    progress(len(names), len(names))


def _check_digest(folder: WeightFolder, file: str) -> None:
    found = file_digest(folder.file(file))
    if found != folder.files[file]:
        get = f" with `redub weights get {folder.name}`" if folder.name in PACKAGES else ""
        raise folder.refused(
            f"{file} is not the file that was recorded (found {found[:12]}, recorded "
            f"{folder.files[file][:12]}); restore it{get}, or record the new one with "
            "`redub weights add … --replace`",
            code="E-MODEL-CHANGED",
        )


def _state(path: Path) -> list[int]:
    state = path.stat()
    return [state.st_size, state.st_mtime_ns, state.st_ino]


def _seen_path(root: Path) -> Path:
    return root / ".redub" / "weights-seen.json"


def _read_seen(root: Path) -> Seen:
    try:
        seen: Seen = read_json(_seen_path(root))
    except (FileNotFoundError, IntegrityError):
        return {}  # only a cache: without it, every file is hashed
    return seen if isinstance(seen, dict) else {}


def _note_seen(root: Path, entry: Entry, states: Mapping[str, list[int]]) -> None:
    """Remember files whose digests are the recorded ones.

    Args:
        states: state of each file *before* it was hashed, so a file that is replaced meanwhile is
            hashed again.
    """
    # With the digest found: the ledger may name another one later.
    noted = {file: [*states[file], digest] for file, digest in entry.files.items()}
    # A worker may have no permission to write here; it then hashes again the next time.
    with contextlib.suppress(OSError, StorageError):
        commit_json(_seen_path(root), {**_read_seen(root), entry.name: noted})
