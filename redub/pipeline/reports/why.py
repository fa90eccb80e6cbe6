"""`redub cache why`: the state of a clip's rows, what entered their keys, and where they lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from redub.core.config import nearest
from redub.core.errors import UsageError
from redub.core.records import Json
from redub.pipeline.store.ledger import WHOLE_CLIP
from redub.pipeline.store.project import Project
from redub.pipeline.store.tables import Store, clips_of

FACTS = ("key", "input_digest", "source", "span", "decoder", "part")
"""Fields of :class:`ExplainedRow` in the order in which people read them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedRow:
    """What one stored row of a clip depends on.

    All but ``feature`` and ``state`` are None (``document`` is empty) where the feature cannot be
    computed; ``part`` is None where no row is stored.
    """

    feature: str
    state: str
    key: str | None = None
    document: Mapping[str, Json] = field(default_factory=dict)
    input_digest: str | None = None
    source: str | None = None
    span: str | None = None
    decoder: str | None = None
    part: str | None = None

    def facts(self) -> dict[str, str | None]:
        """Name to value of each fact; empty where the feature cannot be computed."""
        return {name: getattr(self, name) for name in FACTS} if self.key else {}


@dataclass(frozen=True, slots=True)
class ExplainedClip:
    """The rows of one clip, one per feature."""

    clip: str
    rows: tuple[ExplainedRow, ...]


def explain_rows(project: Project, clip_id: str, feature: str | None) -> ExplainedClip:
    """What the rows of a clip depend on, for one feature or for all.

    The state is "committed", "null: …", "quarantined: …", "pending" or "cannot be made: …".

    Args:
        feature: one feature; None for all.

    Raises:
        UsageError: an unknown clip or feature, with the nearest known one.
    """
    store = Store(project)
    frame = store.clip_frame()
    found = clips_of(frame.filter(pl.col("clip_id") == clip_id))
    if not found:
        raise UsageError(f"unknown clip '{clip_id}'; {nearest(clip_id, frame['clip_id'])}")
    clip = found[0]
    names = list(store.keys.by_name)
    if feature is not None:
        if feature not in names:
            raise UsageError(f"unknown feature '{feature}'; {nearest(feature, names)}")
        names = [feature]
    held = store.quarantined().filter(pl.col("clip_id") == clip_id)
    reasons = {row["feature"]: f"{row['code']}: {row['message']}" for row in held.to_dicts()}
    fps = project.config.video.fps
    rows: list[ExplainedRow] = []
    for name in names:
        if name in store.keys.lacking:
            state = f"cannot be made: {store.keys.lacking[name].message}"
            rows.append(ExplainedRow(feature=name, state=state))
            continue
        key = store.keys.by_name[name]
        live = store.live_features(name).filter(pl.col("clip_id") == clip_id).to_dicts()
        if live:
            state = "committed" if live[0]["valid"] else f"null: {live[0]['why_not']}"
        elif name in reasons or (key.uses_media and WHOLE_CLIP in reasons):
            state = f"quarantined: {reasons.get(name, reasons.get(WHOLE_CLIP))}"
        else:
            state = "pending"
        rows.append(
            ExplainedRow(
                feature=name,
                state=state,
                key=key.key,
                document=key.document.to_json(),
                input_digest=key.input_digest(clip),
                source=f"{clip.source} (SHA-256 {clip.source_digest})",
                span=f"{clip.start_frame / fps:.2f} s to {clip.end_frame / fps:.2f} s",
                decoder=clip.decoder,
                part=live[0]["part"] if live else None,
            )
        )
    return ExplainedClip(clip_id, tuple(rows))
