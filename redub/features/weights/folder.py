"""Somebody's trained weights on the user's disk: only listed files, only tensors, all keys.

A folder comes from the project's weights ledger (``models.lock``), where each file is recorded with
its SHA-256, licence and terms. Nothing in it is ever executed: configurations are data, pickles may
hold tensors only, and what asks for more is refused (exit 8).
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
"""Least, most and type of the numbers of a ``config.json`` that a network is built from."""

LFS_POINTER = b"version https://git-lfs"
WEB_PAGE = (b"<!doctype", b"<html", b"<?xml")
PICKLE = (b"\x80", b"PK")  # what a bare pickle and torch's zip archive begin with
REFUSED_CLASS = re.compile(r"GLOBAL (\w[\w.]*)")
CODE_KEYS = ("auto_map", "remote_code", "trust_remote_code", "custom_pipelines", "custom_code")
"""Configuration keys by which model libraries are told to import code."""


@dataclass(frozen=True, slots=True)
class WeightFolder:
    """One entry of the weights ledger.

    ``files``: SHA-256 by path below the folder, in posix form; what is not in it does not exist for
    an extractor. ``licence`` and ``terms`` travel with every feature computed from it.
    """

    name: str
    path: Path
    files: Mapping[str, str]
    licence: str = "not stated"
    terms: str = ""

    def has(self, name: str) -> bool:
        return name in self.files

    def file(self, name: str) -> Path:
        """The path of a listed file.

        Raises:
            ModelRefusedError: E-MODEL-FILE, not listed or gone; E-MODEL-LFS, a git-lfs pointer.
        """
        path = self.path / name
        if self.has(name) and not path.is_file():
            raise self.refused(
                f"{name} is recorded and not there any more. Was the folder moved? Record it where "
                "it is with `redub weights add`",
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
        """The first of the names that is listed.

        Raises:
            ModelRefusedError: E-MODEL-FILE, none is.
        """
        for name in names:
            if self.has(name):
                return name
        raise self.refused(
            f"wants one of {', '.join(names)}; listed: {', '.join(sorted(self.files)) or 'none'}",
            code="E-MODEL-FILE",
        )

    def text(self, name: str) -> str:
        try:
            return self.file(name).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise self.refused(f"{name} is not UTF-8 text", code="E-MODEL-FILE") from error

    def json(self, name: str) -> dict[str, Any]:
        """A JSON object that asks for no code.

        Raises:
            ModelRefusedError: E-MODEL-FILE, no JSON object; E-MODEL-CODE, it names code to import.
        """
        value = self.any_json(name)
        if not isinstance(value, dict):
            raise self.refused(f"{name} holds no JSON object", code="E-MODEL-FILE")
        if Path(name).name == "config.json":
            self._check_numbers(value)
        return value

    def _check_numbers(self, values: Mapping[str, Any]) -> None:
        """Refuse sizes that no network has: its library would hang, or fail at every clip."""
        words = values.get("vocab_size")
        for key, value in values.items():
            if isinstance(value, Mapping):
                self._check_numbers(value)
                continue
            least, most, kind = next(
                (limits for pattern, limits in NUMBERS if re.fullmatch(pattern, key)), NO_LIMITS
            )
            if key.endswith("_token_id") and type(words) is int:
                most = words - 1
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
        """A JSON value of any kind (vocabularies are lists) that asks for no code; see `json`."""
        try:
            value = json.loads(self.text(name))
            self.refuse_code(value, name)
        except ValueError as error:  # not JSON, or a number of thousands of digits
            raise self.refused(f"{name} is not JSON: {error}", code="E-MODEL-FILE") from error
        except RecursionError:
            raise self.refused(
                f"{name} is brackets within brackets; it configures no model", code="E-MODEL-FILE"
            ) from None
        return value

    def refuse_code(self, values: Any, where: str) -> None:
        """Raise E-MODEL-CODE if a configuration, at any depth, asks to import or run code."""
        if isinstance(values, Mapping):
            for key, value in values.items():
                if key in CODE_KEYS and value not in (None, False, {}, [], ""):
                    raise self.refused(
                        f"{where} asks for code of its own ('{key}': {value!r}); redub runs none. "
                        "Take the key out if the weights work without",
                        code="E-MODEL-CODE",
                    )
                self.refuse_code(value, where)
        elif isinstance(values, list | tuple):
            for value in values:
                self.refuse_code(value, where)

    def tensors(self, name: str, *, allowed: Sequence[Any] = ()) -> dict[str, Any]:
        """The content of a ``.safetensors`` file or of a pickle of tensors, on the CPU.

        Args:
            allowed: further harmless classes that this checkpoint is known to hold, as
                ``torch.serialization.safe_globals`` takes them.

        Raises:
            ModelRefusedError: E-MODEL-CODE, a pickle wants anything else; E-MODEL-FILE, damaged.
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
                warnings.catch_warnings(action="ignore"),  # what is wrong is said below
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
        """Raise for a web page under a checkpoint's name: what many hosts send for an error."""
        with path.open("rb") as file:
            head = file.read(64).lstrip().lower()
        if head.startswith(WEB_PAGE):
            raise self.refused(
                f"{name} is a web page, not a checkpoint; download it again (the page may say why)",
                code="E-MODEL-FILE",
            )

    def _pickle_refused(self, path: Path, name: str, said: str) -> ModelRefusedError:
        with path.open("rb") as file:
            is_pickle = file.read(2).startswith(PICKLE)
        if not is_pickle:
            return self.refused(
                f"{name} is no checkpoint: neither a torch archive nor a pickle; copy it again",
                code="E-MODEL-FILE",
            )
        found = REFUSED_CLASS.search(said)
        what = f"asks for {found[1]}" if found else "is written in a way that only data is not"
        return self.refused(
            f"{name} holds more than tensors: it {what}. Nothing in it was run. Convert it to "
            ".safetensors on a machine where you trust it",
            code="E-MODEL-CODE",
        )

    @contextlib.contextmanager
    def view(self) -> Iterator[Path]:
        """A temporary folder of links to just the listed files, for libraries that want a folder.

        What lies beside them (another ``modeling.py``) is out of their reach.
        """
        with tempfile.TemporaryDirectory(prefix="redub-weights-") as scratch:
            for name in self.files:
                link = Path(scratch) / name
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(self.file(name).resolve())
            yield Path(scratch)

    def refused(self, message: str, *, code: str) -> ModelRefusedError:
        return ModelRefusedError(f"weights '{self.name}' ({self.path}): {message}", code=code)


DAMAGE = (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError)
"""What readers of checkpoints raise for files that are cut off or were never checkpoints."""


@contextlib.contextmanager
def understood(weights: WeightFolder) -> Iterator[None]:
    """Refuse a folder whose odd values confuse the library that builds its network.

    Raises:
        ModelRefusedError: E-MODEL-FILE, in place of whatever the library raised. What is about
            the machine (a full GPU) passes.
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
            f"its files cannot be used ({type(error).__name__}: {reason[:160]}); they are of "
            "another model, or were changed",
            code="E-MODEL-FILE",
        ) from error


def refuse_pointer(path: Path) -> None:
    """Raise E-MODEL-LFS for the text stub that git-lfs leaves where a file was not fetched."""
    with path.open("rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            raise ModelRefusedError(
                f"{path} is a git-lfs pointer, not the file; fetch it with `git lfs pull`",
                code="E-MODEL-LFS",
            )


def without_prefix(state: Mapping[str, Tensor], *prefixes: str) -> dict[str, Tensor]:
    """The same tensors with the first prefix that fits cut off each name (``module.``)."""
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
    """Fill every parameter and buffer of ``module``, and leave no tensor over.

    Args:
        extra: patterns (full match) of names that the checkpoint may hold beyond the module:
            heads of the pre-training, counters.
        lacking: patterns of names of the module that the checkpoint may lack, because they are
            computed, not trained.

    Raises:
        ModelRefusedError: E-MODEL-KEYS, a name is missing or left over; E-MODEL-SHAPE;
            E-MODEL-DTYPE, quantised, sparse or without values.
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
    # Assigned, not copied: the network then lives in the loaded tensors, once in memory.
    fitting = {n: state[n].to(v.dtype) for n, v in own.items() if n in state}
    module.load_state_dict(fitting, strict=False, assign=True)


def _refuse_odd_tensor(name: str, given: Tensor, own: Tensor, weights: WeightFolder) -> None:
    """Raise for what has the right shape and is not the numbers: sparse, empty, quantised."""
    import torch

    if given.is_meta or given.layout != torch.strided or given.is_quantized:
        kind = "without values" if given.is_meta else "sparse or quantised"
        raise weights.refused(f"{name} is {kind}; wanted plain numbers", code="E-MODEL-DTYPE")
    floats = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    if own.is_floating_point() and given.dtype not in floats:
        raise weights.refused(
            f"{name} is {given.dtype}, wanted floating point. Quantised weights mean nothing "
            "without their scales; take the unquantised ones",
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
