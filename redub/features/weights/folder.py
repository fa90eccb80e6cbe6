"""Read trained weights from the user's disk: only listed files, only tensors, all keys.

A folder comes from the project's weights ledger (``models.lock``), which records each file with its
SHA-256, licence and terms. Nothing in a file is ever executed: configurations are data, and pickles
may contain only tensors. Files that need more are refused (exit code 8).
"""

from __future__ import annotations

import contextlib
import json
import math
import pickle
import re
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redub.core.errors import ModelRefusedError, RedubError

if TYPE_CHECKING:
    from torch import Tensor, nn

NO_LIMITS: tuple[float, float, type] = (-math.inf, math.inf, object)
NUMBERS: tuple[tuple[str, tuple[float, float, type]], ...] = (
    (r".*layers", (0, 1000, int)),
    (r".*heads", (1, 1024, int)),
    (r".*(kernel|stride)(_size)?", (1, 4096, int)),
    (
        r".*(hidden|intermediate|vocab|patch|image)_size|d_model|.*_ffn_dim|conv_dim",
        (1, 10_000_000, int),
    ),
    (r".*_?eps(ilon)?", (0.0, 1.0, float)),
    (r".*_token_id", (-1, 10_000_000, int)),
)
"""Name pattern → (least, most, type) of numbers in a ``config.json``."""

LFS_POINTER = b"version https://git-lfs"
WEB_PAGE = (b"<!doctype", b"<html", b"<?xml")
PICKLE = (b"\x80", b"PK")  # first bytes of a pickle and of torch's zip archive
REFUSED_CLASS = re.compile(r"GLOBAL (\w[\w.]*)")
CODE_KEYS = ("auto_map", "remote_code", "trust_remote_code", "custom_pipelines", "custom_code")
"""Configuration keys that make model libraries import code."""


@dataclass(frozen=True, slots=True)
class WeightFolder:
    """One entry of the weights ledger.

    Attributes:
        name: name of the entry.
        path: the folder.
        files: posix path below the folder → SHA-256. Extractors cannot use other files.
        licence, terms: recorded with every feature that is computed with these weights.
    """

    name: str
    path: Path
    files: Mapping[str, str]
    licence: str = "not stated"
    terms: str = ""

    def has(self, name: str) -> bool:
        """Return whether a file is listed."""
        return name in self.files

    def file(self, name: str) -> Path:
        """Return the path of a listed file.

        Raises:
            ModelRefusedError: E-MODEL-FILE, not listed or missing; E-MODEL-LFS, a git-lfs pointer.
        """
        path = self.path / name
        if self.has(name) and not path.is_file():
            raise self.refused(
                f"{name} is recorded, but it does not exist any more. If the folder was moved, "
                "record it again with `redub weights add`",
                code="E-MODEL-FILE",
            )
        if not self.has(name):
            raise self.refused(
                f"wants the file {name}; listed: {', '.join(sorted(self.files)) or 'none'}",
                code="E-MODEL-FILE",
            )
        refuse_pointer(path)
        return path

    def one_of(self, *names: str) -> str:
        """Return the first of the names that is listed.

        Raises:
            ModelRefusedError: E-MODEL-FILE, none of them is listed.
        """
        for name in names:
            if self.has(name):
                return name
        raise self.refused(
            f"wants one of {', '.join(names)}; listed: {', '.join(sorted(self.files)) or 'none'}",
            code="E-MODEL-FILE",
        )

    def text(self, name: str) -> str:
        """Read a listed UTF-8 text file.

        Raises:
            ModelRefusedError: E-MODEL-FILE, not UTF-8; else as :meth:`file`.
        """
        try:
            return self.file(name).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise self.refused(f"{name} is not UTF-8 text", code="E-MODEL-FILE") from error

    def json(self, name: str) -> dict[str, Any]:
        """Read a JSON object; refuse code, and invalid numbers in a ``config.json``.

        Raises:
            ModelRefusedError: E-MODEL-FILE, not a JSON object, or a number out of range;
                E-MODEL-CODE, it names code to import.
        """
        value = self.any_json(name)
        if not isinstance(value, dict):
            raise self.refused(f"{name} is not a JSON object", code="E-MODEL-FILE")
        if Path(name).name == "config.json":
            self._check_numbers(value)
        return value

    def _check_numbers(self, values: Mapping[str, Any]) -> None:
        """Refuse impossible sizes, because the library would hang or fail at every clip."""
        vocab_size = values.get("vocab_size")
        for key, value in values.items():
            if isinstance(value, Mapping):
                self._check_numbers(value)
                continue
            least, most, kind = next(
                (limits for pattern, limits in NUMBERS if re.fullmatch(pattern, key)), NO_LIMITS
            )
            if key.endswith("_token_id") and type(vocab_size) is int:
                most = vocab_size - 1
            for entry in value if isinstance(value, list) else [value]:
                if entry is None or kind is object:
                    continue
                if type(entry) not in (int, kind) or not least <= entry <= most:
                    raise self.refused(
                        f"config.json: {key} is {entry!r}, wanted a "
                        f"{'whole ' if kind is int else ''}number, {least} to {most}",
                        code="E-MODEL-FILE",
                    )

    def any_json(self, name: str) -> Any:
        """Read a JSON value of any type (some vocabularies are lists); see :meth:`json`."""
        try:
            value = json.loads(self.text(name))
            self.refuse_code(value, name)
        except ValueError as error:  # not JSON, or a number of thousands of digits
            raise self.refused(f"{name} is not JSON: {error}", code="E-MODEL-FILE") from error
        except RecursionError:
            raise self.refused(
                f"{name} has too many nested brackets; it is not a configuration",
                code="E-MODEL-FILE",
            ) from None
        return value

    def refuse_code(self, values: Any, where: str) -> None:
        """Check that a configuration does not import or run code, at any depth.

        Args:
            where: name of the file, for the message.

        Raises:
            ModelRefusedError: E-MODEL-CODE.
        """
        if isinstance(values, Mapping):
            for key, value in values.items():
                if key in CODE_KEYS and value not in (None, False, {}, [], ""):
                    raise self.refused(
                        f"{where} asks for its own code ('{key}': {value!r}); redub does not run "
                        "it. Remove the key if the weights work without it",
                        code="E-MODEL-CODE",
                    )
                self.refuse_code(value, where)
        elif isinstance(values, list | tuple):
            for value in values:
                self.refuse_code(value, where)

    def tensors(self, name: str, *, allowed: Sequence[Any] = ()) -> dict[str, Any]:
        """Load a ``.safetensors`` file or a pickle of tensors on the CPU.

        Args:
            allowed: further harmless classes that this checkpoint is known to contain, as for
                ``torch.serialization.safe_globals``.

        Raises:
            ModelRefusedError: E-MODEL-CODE, a pickle with other classes, or TorchScript;
                E-MODEL-FILE, a damaged file.
        """
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self.file(name)
        self._refuse_page(path, name)
        try:
            if path.suffix == ".safetensors":
                return dict(load_file(path))
            with (
                torch.serialization.safe_globals(list(allowed)),
                warnings.catch_warnings(action="ignore"),  # errors are reported below
            ):
                value = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise self._pickle_refused(path, name, str(error)) from error
        except (SafetensorError, *DAMAGE) as error:
            if "TorchScript" in str(error):
                raise self.refused(
                    f"{name} is a TorchScript archive, which is a program; save its state_dict() "
                    "where you trust it",
                    code="E-MODEL-CODE",
                ) from error
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise self.refused(
                f"{name} is damaged or cut off ({reason[:160]}); copy it again",
                code="E-MODEL-FILE",
            ) from error
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise self.refused(
                f"{name} holds a {type(value).__name__}, wanted a table of tensors by name",
                code="E-MODEL-FILE",
            )
        return value

    def _refuse_page(self, path: Path, name: str) -> None:
        """Refuse a web page with the name of a checkpoint: many hosts send one for an error."""
        with path.open("rb") as file:
            head = file.read(64).lstrip().lower()
        if head.startswith(WEB_PAGE):
            raise self.refused(
                f"{name} is a web page, not a checkpoint; download it again (the page may say why)",
                code="E-MODEL-FILE",
            )

    def _pickle_refused(self, path: Path, name: str, reason: str) -> ModelRefusedError:
        with path.open("rb") as file:
            is_pickle = file.read(2).startswith(PICKLE)
        if not is_pickle:
            return self.refused(
                f"{name} is not a checkpoint: neither a torch archive nor a pickle; copy it again",
                code="E-MODEL-FILE",
            )
        found = REFUSED_CLASS.search(reason)
        what = f"asks for {found[1]}" if found else "contains instructions besides data"
        return self.refused(
            f"{name} holds more than tensors: it {what}. Nothing in it was run. Convert it to "
            ".safetensors on a machine where you trust it",
            code="E-MODEL-CODE",
        )

    @contextlib.contextmanager
    def view(self) -> Iterator[Path]:
        """Yield a temporary folder with links to the listed files, for libraries that read folders.

        So a library cannot read other files of the folder (``modeling.py``).
        """
        with tempfile.TemporaryDirectory(prefix="redub-weights-") as scratch:
            for name in self.files:
                link = Path(scratch) / name
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(self.file(name).resolve())
            yield Path(scratch)

    def refused(self, message: str, *, code: str) -> ModelRefusedError:
        """Make an error whose message begins with the name and the path of this entry."""
        return ModelRefusedError(f"weights '{self.name}' ({self.path}): {message}", code=code)


DAMAGE = (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError)
"""Errors that readers raise for truncated files and for files that are not checkpoints."""


@contextlib.contextmanager
def understood(weights: WeightFolder) -> Iterator[None]:
    """Turn errors of the library that builds a network into a refusal of the folder.

    Raises:
        ModelRefusedError: E-MODEL-FILE, instead of the error of the library. Errors of the machine
            (out of memory, disk) are not changed.
    """
    try:
        yield
    except (RedubError, MemoryError, OSError):
        raise
    except (*DAMAGE, ArithmeticError, AssertionError) as error:
        if type(error).__name__ == "OutOfMemoryError":
            raise
        reason = (str(error) or "no reason given").splitlines()[0]
        raise weights.refused(
            f"its files cannot be used ({type(error).__name__}: {reason[:160]}); they belong to "
            "another model, or were changed",
            code="E-MODEL-FILE",
        ) from error


def refuse_pointer(path: Path) -> None:
    """Check that a file is not a git-lfs pointer, the text that replaces a file not fetched.

    Raises:
        ModelRefusedError: E-MODEL-LFS.
    """
    with path.open("rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            raise ModelRefusedError(
                f"{path} is a git-lfs pointer, not the file; fetch it with `git lfs pull`",
                code="E-MODEL-LFS",
            )


def without_prefix(state: Mapping[str, Tensor], *prefixes: str) -> dict[str, Tensor]:
    """Remove from each tensor name the first prefix that matches (``module.``)."""
    bare: dict[str, Tensor] = {}
    for name, value in state.items():
        prefix = next((p for p in prefixes if name.startswith(p)), "")
        bare[name[len(prefix) :]] = value
    return bare


def load_strictly(
    module: nn.Module,
    state: Mapping[str, Tensor],
    weights: WeightFolder,
    *,
    extra: Iterable[str] = (),
    lacking: Iterable[str] = (),
) -> None:
    """Load every parameter and buffer of ``module``; every tensor of ``state`` must be used.

    Args:
        extra: patterns (full match) of names that only the checkpoint may have: pre-training
            heads, counters.
        lacking: patterns of names that only the module may have, because they are computed and
            not trained.

    Raises:
        ModelRefusedError: E-MODEL-KEYS, a name is missing or unknown; E-MODEL-SHAPE;
            E-MODEL-DTYPE, a tensor is quantised, sparse or without values; E-MODEL-FILE, a value
            is not finite.
    """
    own = module.state_dict()
    missing = [n for n in own if n not in state and not _matches(n, lacking)]
    left_over = [n for n in state if n not in own and not _matches(n, extra)]
    if missing or left_over:
        raise weights.refused(
            f"{len(missing)} tensors are missing{_first(missing)} and {len(left_over)} are unknown"
            f"{_first(left_over)}; this is another model, or a part of it",
            code="E-MODEL-KEYS",
        )
    for name, value in own.items():
        if name in state and state[name].shape != value.shape:
            raise weights.refused(
                f"{name} is {tuple(state[name].shape)}, wanted {tuple(value.shape)}",
                code="E-MODEL-SHAPE",
            )
        if name in state:
            _refuse_odd_tensor(name, state[name], value, weights)
    # Assign instead of copy, so that the tensors are in memory only once.
    fitting = {n: state[n].to(v.dtype) for n, v in own.items() if n in state}
    module.load_state_dict(fitting, strict=False, assign=True)


def _refuse_odd_tensor(name: str, given: Tensor, own: Tensor, weights: WeightFolder) -> None:
    """Refuse a tensor that is sparse, without values, quantised or not finite."""
    import torch

    if given.is_meta or given.layout != torch.strided or given.is_quantized:
        kind = "without values" if given.is_meta else "sparse or quantised"
        raise weights.refused(f"{name} is {kind}; wanted plain numbers", code="E-MODEL-DTYPE")
    floats = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    if own.is_floating_point() and given.dtype not in floats:
        raise weights.refused(
            f"{name} is {given.dtype}, wanted floating point. Quantised weights cannot be used "
            "without their scales; use the unquantised weights",
            code="E-MODEL-DTYPE",
        )
    if not own.is_floating_point() and (given.is_floating_point() or given.is_complex()):
        raise weights.refused(f"{name} is {given.dtype}, wanted {own.dtype}", code="E-MODEL-DTYPE")
    if given.is_floating_point() and not torch.isfinite(given).all():
        raise weights.refused(
            f"{name} holds values that are not numbers; the file is damaged, copy it again",
            code="E-MODEL-FILE",
        )


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def _first(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return f" ({shown}{', …' if len(names) > 3 else ''})" if names else ""
