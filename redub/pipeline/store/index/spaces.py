"""The space in which a modality is searched: a transform, fitted on the library and stored with it.

Reads the emotion vectors of the library (the training split). Writes three files into
``index/library/<build>/`` for every modality whose transform is not ``identity``:

- ``<modality>_transform.npz``: the fitted transform.
- ``<modality>_rows.npy``: (n,) library rows whose transformed vector has a direction.
- ``<modality>.npy``: (n, D) their vectors as extracted; models read these.

Letters: N library clips, n indexed rows, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from redub.core.config import digest_of
from redub.core.errors import ConfigError, IntegrityError
from redub.core.types import MODALITIES, Clip, FloatArray, Value
from redub.index.base import IntArray, Metric
from redub.index.library import has_direction
from redub.index.transform import Chain, fit_for_search, fitted_digest
from redub.pipeline.store.settings import IndexConfig

PLAIN = "identity"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Space:
    """One modality's fitted transform and the library vectors that it applies to.

    ``digest`` changes whenever a transformed vector may change: with the fitted transform and with
    the speaker of each library clip.
    """

    transform: Chain
    rows: IntArray  # (n,) library rows, ascending
    raw: FloatArray  # (n, D) float32, as extracted
    digest: str

    def raw_of(self, rows: IntArray) -> FloatArray:
        """Extracted vectors (len(rows), D) of some of its library rows; no copy for all rows."""
        if np.array_equal(rows, self.rows):
            return self.raw
        return self.raw[np.searchsorted(self.rows, rows)]


def transform_of(config: IndexConfig, modality: str) -> str:
    """The name of a modality's transform in the settings."""
    name: str = getattr(config, f"{modality}_transform")
    return name


def has_halves(modality: str, metric: Metric) -> bool:
    """Whether a score is the mean of two cosines, of the spoken text and of the reaction."""
    return modality == "text" and metric == "cosine"


def fit_space(
    config: IndexConfig, modality: str, library: Sequence[Clip], values: Mapping[str, Value]
) -> Space | None:
    """Fit a modality's transform on the library clips that have a vector.

    Args:
        values: vectors by clip id, clips without one left out.

    Returns:
        None where vectors stay as they are: the transform is ``identity``, or no clip has a vector.

    Raises:
        ConfigError: the transform cannot be fitted (no labels for ``lda``, all vectors alike); the
            message says what to set instead.
    """
    name = transform_of(config, modality)
    rows = [row for row, clip in enumerate(library) if clip.clip_id in values]
    if name == PLAIN or not rows:
        return None
    raw = np.stack([np.asarray(values[library[row].clip_id]) for row in rows]).astype(np.float32)
    speakers = [library[row].speaker for row in rows]
    labels = [library[row].emotion for row in rows]
    halves = has_halves(modality, config.metric)
    try:
        transform = fit_for_search(name, raw, speakers, labels, halves=halves)
    except ConfigError as error:
        raise ConfigError(
            f"index.{modality}_transform is '{name}', which cannot be fitted on "
            f"{len(rows)} library clips: {error.message}. Set it to '{PLAIN}', or add what is "
            "missing",
            code=error.code,
        ) from error
    kept = has_direction(transform.apply(raw, speakers), config.metric)
    if not kept.any():
        raise ConfigError(
            f"index.{modality}_transform is '{name}', which takes away all that {len(rows)} "
            f"library clips differ in; set it to '{PLAIN}'",
            code="E-INDEX-FLAT",
        )
    return Space(
        transform=transform,
        rows=np.array(rows, dtype=np.int64)[kept],
        raw=raw[kept],
        digest=_digest(transform, library),
    )


def write_space(folder: Path, modality: str, space: Space) -> None:
    """Write the three files of a space into a library folder that is not yet committed."""
    write_arrays(folder / f"{modality}_transform.npz", space.transform.to_arrays())
    np.save(folder / f"{modality}_rows.npy", space.rows, allow_pickle=False)
    np.save(folder / f"{modality}.npy", space.raw, allow_pickle=False)


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write the arrays of a fitted transform as an ``.npz`` file."""
    np.savez(path, **arrays)  # type: ignore[arg-type]  # no array is called allow_pickle


def read_spaces(folder: Path, library: Sequence[Clip]) -> dict[str, Space]:
    """Read the spaces of a library folder, by modality; ``identity`` modalities have none.

    The caller must have checked the folder's bytes.

    Raises:
        IntegrityError: the arrays do not fit each other or this library.
    """
    spaces = {}
    for modality in MODALITIES:
        path = folder / f"{modality}_transform.npz"
        if not path.is_file():
            continue
        with np.load(path, allow_pickle=False) as arrays:
            transform = Chain.from_arrays(dict(arrays))
        rows = np.load(folder / f"{modality}_rows.npy", allow_pickle=False)
        raw = np.load(folder / f"{modality}.npy", mmap_mode="r", allow_pickle=False)
        if len(rows) != len(raw) or rows[-1] >= len(library):
            raise IntegrityError(
                f"{folder}: {len(rows)} rows and {len(raw)} vectors of {modality} for a library of "
                f"{len(library)}; build the index again",
                code="E-INT-INDEX",
            )
        digest = _digest(transform, library)
        spaces[modality] = Space(transform=transform, rows=rows, raw=np.asarray(raw), digest=digest)
    return spaces


def committed_spaces(
    folder: Path, library: Sequence[Clip], digests: Mapping[str, str]
) -> dict[str, Space]:
    """:func:`read_spaces`, checked against the digests that a build was committed with.

    Raises:
        IntegrityError: a stored transform is not the committed one, or is missing or not expected.
    """
    spaces = read_spaces(folder, library)
    found = {modality: space.digest for modality, space in spaces.items()}
    if found != dict(digests):
        raise IntegrityError(
            f"{folder}: its transforms are not those that the build was committed with; "
            "run `redub index build`",
            code="E-INT-INDEX",
        )
    return spaces


def _digest(transform: Chain, library: Sequence[Clip]) -> str:
    return digest_of(
        [fitted_digest(transform), [[clip.clip_id, clip.speaker] for clip in library]], digits=64
    )
