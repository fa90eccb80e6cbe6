"""Emotion precision@K of one modality over all labelled clips: each clip retrieves from the others.

:mod:`redub.pipeline.reports.index.precision_table` measures held-out utterances against the
library instead, as retrieval works.

Unfitted: each speaker's vectors are normalised by that speaker's own clips, without labels.
Fitted: in addition, discriminant axes are fitted on the labels of all *other* speakers, once for
each query speaker. No label of the query's speaker is used before hits are counted.

Letters: Q queries, K retrieved clips.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from redub.core.config import nearest
from redub.core.errors import ConfigError, UsageError
from redub.core.types import FloatArray
from redub.evaluation.intervals import wilson
from redub.index.exact import ExactBackend
from redub.index.transform import Chain, fit_chain
from redub.pipeline.store.project import Project
from redub.pipeline.store.settings import feature_of
from redub.pipeline.store.tables import Store


@dataclass(frozen=True, slots=True)
class PrecisionReport:
    """Precision@K with its 95 % Wilson interval.

    ``chance``: the mean share of clips with the query's emotion among those that it may retrieve.
    """

    modality: str
    scope: str
    transform: str
    k: int
    queries: int
    precision: float
    low: float
    high: float
    chance: float


def emotion_precision(
    project: Project,
    *,
    modality: str = "audio",
    scope: str = "other",
    fitted: bool = False,
    k: int | None = None,
) -> PrecisionReport:
    """Measure precision@K over all clips with an emotion label.

    Args:
        scope: speakers that may be retrieved: any, same or other.
        k: None for the project's K.

    Raises:
        UsageError: an unknown modality or scope, or ``k`` below 1.
        ConfigError: too few labelled clips.
    """
    features = feature_of(project.config.index)
    if modality not in features:
        raise UsageError(f"unknown modality '{modality}'; {nearest(modality, features)}")
    if scope not in ("any", "same", "other"):
        raise UsageError(f"unknown scope '{scope}'; {nearest(scope, ['any', 'same', 'other'])}")
    k = project.config.index.k if k is None else k
    if k < 1:
        raise UsageError(f"K is {k}; wanted at least 1")
    store = Store(project)
    clips = store.clip_frame().filter(pl.col("emotion") != "")
    values = store.read(features[modality], clips["clip_id"])
    clips = clips.filter(pl.col("clip_id").is_in(list(values))).sort("clip_id")
    if len(clips) <= k:
        raise ConfigError(
            f"{len(clips)} labelled clips have a {modality} vector; wanted more than {k}. "
            "Is there an emotions.csv, and did `redub extract` run?",
            code="E-STAGE-EXTRACT",
        )
    raw = np.stack([np.asarray(values[c]) for c in clips["clip_id"]]).astype(np.float32)
    speakers, labels = clips["speaker"].to_list(), clips["emotion"].to_list()
    shared = shares_of_neighbours(raw, speakers, labels, k=k, scope=scope, fitted=fitted)
    hits, total = int(shared.sum()), int(shared.size)
    share = wilson(hits, total)
    name = "speaker z-score" + (" + axes fitted on the other speakers" if fitted else "")
    return PrecisionReport(
        modality=modality,
        scope=scope,
        transform=name,
        k=k,
        queries=len(shared),
        precision=share.value,
        low=share.low,
        high=share.high,
        chance=_chance(speakers, labels, scope),
    )


def shares_of_neighbours(
    raw: FloatArray,
    speakers: list[str],
    labels: list[str],
    *,
    k: int,
    scope: str,
    fitted: bool,
) -> NDArray[np.bool_]:
    """(Q, K) bool: whether each hit has its query's label; queries with fewer hits are left out."""
    names = np.array(speakers, dtype=object)
    emotion = np.array(labels, dtype=object)
    shared = []
    for speaker in sorted(set(speakers)):
        own = names == speaker
        vectors = _transform(raw, speakers, labels, ~own, fitted).apply(raw, speakers)
        usable = np.linalg.norm(vectors, axis=1) > 0
        allowed = {"any": np.ones_like(own), "same": own, "other": ~own}[scope]
        queries = np.flatnonzero(own & usable)
        eligible = np.repeat((allowed & usable)[None], len(queries), axis=0)
        eligible[np.arange(len(queries)), queries] = False
        library = np.where(usable[:, None], vectors, np.float32(1.0))
        index = ExactBackend.build(library, metric="cosine")
        hits = index.search(vectors[queries], k, eligible)
        full = (hits.rows >= 0).all(axis=1)
        shared.append(emotion[hits.rows[full]] == emotion[queries[full]][:, None])
    return np.concatenate(shared)


def _transform(
    raw: FloatArray,
    speakers: list[str],
    labels: list[str],
    others: NDArray[np.bool_],
    fitted: bool,
) -> Chain:
    """Speaker statistics see every clip; axes see the labels of the other speakers only."""
    if not fitted:
        return fit_chain(("speaker_zscore",), raw, speakers)
    seen = [label if other else "" for label, other in zip(labels, others, strict=True)]
    return fit_chain(("speaker_zscore", "lda"), raw, speakers, seen)


def _chance(speakers: list[str], labels: list[str], scope: str) -> float:
    names, emotion = np.array(speakers, dtype=object), np.array(labels, dtype=object)
    shares = []
    for row in range(len(labels)):
        allowed = {
            "any": np.ones(len(labels), dtype=bool),
            "same": names == names[row],
            "other": names != names[row],
        }[scope]
        allowed[row] = False
        if allowed.any():
            shares.append(float((emotion[allowed] == emotion[row]).mean()))
    return float(np.mean(shares)) if shares else 0.0
