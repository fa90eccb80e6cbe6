"""`redub cache why`: the state of a clip's rows, what entered their keys, and where they lie."""

from __future__ import annotations

from typing import Any

import polars as pl

from redub.core.config import nearest
from redub.core.errors import UsageError
from redub.pipeline.store.ledger import WHOLE_CLIP
from redub.pipeline.store.project import Project
from redub.pipeline.store.tables import Store, clips_of

FACTS = ("key", "input_digest", "source", "span", "decoder", "part")


def explain_rows(project: Project, clip_id: str, feature: str | None) -> list[dict[str, Any]]:
    """One dictionary per feature of a clip: state, key and its document, input digest, part.

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
    rows: list[dict[str, Any]] = []
    for name in names:
        if name in store.keys.lacking:
            state = f"cannot be made: {store.keys.lacking[name].message}"
            rows.append({"feature": name, "state": state, "document": {}, **dict.fromkeys(FACTS)})
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
            {
                "feature": name,
                "state": state,
                "key": key.key,
                "document": key.document,
                "input_digest": key.input_digest(clip),
                "source": f"{clip.source} (SHA-256 {clip.source_digest})",
                "span": f"{clip.start_frame / fps:.2f} s to {clip.end_frame / fps:.2f} s",
                "decoder": clip.decoder,
                "part": live[0]["part"] if live else None,
            }
        )
    return rows
