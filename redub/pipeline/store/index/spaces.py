"""The space a modality is searched in: a transform, fitted on the library and stored beside it.

Reads the emotion vectors of the library, which is the training split. Writes three files into
``index/library/<build>/`` for every modality whose transform is not ``identity``:
``<modality>_transform.npz`` (what was fitted), ``<modality>_rows.npy`` ((n,) the library rows that
have a direction in that space) and ``<modality>.npy`` ((n, D) their vectors as extracted, which is
what models are given).

Letters: N library clips, n indexed rows, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

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
    """One modality's fitted transform and the library vectors that went into it.

    ``digest`` changes whenever a transformed vector may: with what was fitted, and with who speaks
    in each clip.
    """

    transform: Chain
    rows: IntArray  # (n,) library rows, ascending
    raw: FloatArray  # (n, D) float32, as extracted
    digest: str

    def raw_of(self, rows: IntArray) -> FloatArray:
        """Vectors as extracted of some of its library rows; all of them are not copied."""
        if np.array_equal(rows, self.rows):
            return self.raw
        return self.raw[np.searchsorted(self.rows, rows)]


def transform_of(config: IndexConfig, modality: str) -> str:
    """The name of the transform that a modality has in the settings."""
    name: str = getattr(config, f"{modality}_transform")
    return name


def has_halves(modality: str, metric: Metric) -> bool:
    """Whether a score is the mean of the cosines of two halves: the line's and the reaction's."""
    return modality == "text" and metric == "cosine"


def fit_space(
    config: IndexConfig, modality: str, library: Sequence[Clip], values: Mapping[str, Value]
) -> Space | None:
    """Fit a modality's transform on the library clips that have a vector.

    Args:
        values: vectors by clip id, clips without one left out.

    Returns:
        None where vectors stay as they are: the transform is ``identity``, or nobody has a vector.

    Raises:
        ConfigError: it cannot be fitted (no labels for ``lda``, vectors all alike); says what to
            set instead.
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
    """Add a space to a library folder that is being filled."""
    arrays: dict[str, Any] = space.transform.to_arrays()
    np.savez(folder / f"{modality}_transform.npz", **arrays)
    np.save(folder / f"{modality}_rows.npy", space.rows, allow_pickle=False)
    np.save(folder / f"{modality}.npy", space.raw, allow_pickle=False)


def read_spaces(folder: Path, library: Sequence[Clip]) -> dict[str, Space]:
    """The spaces of a library folder, by modality; those that are plain are not there.

    The folder's bytes must have been checked before.

    Raises:
        IntegrityError: arrays are missing, or not of this library.
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
    """:func:`read_spaces`, each found to be the one that a build was committed with.

    Raises:
        IntegrityError: another transform, or none, is stored where the commit names one.
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
