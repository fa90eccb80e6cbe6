"""`redub lines`: what each utterance can be used for, and why not.

Reads the commits of the clip table, the features and the quarantine. Writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from redub.core.errors import ConfigError
from redub.pipeline.store.packs.links import RECORDED
from redub.pipeline.store.packs.training_set import NO_OTHER_LINE, NO_VOICE
from redub.pipeline.store.project import Project
from redub.pipeline.store.settings import feature_of
from redub.pipeline.store.tables import PENDING, Store, lacking, store_of

USES = {
    "train": "trained on",
    "measure": "measured on",
    "speak": "spoken",
    "retrieve": "retrieved",
}
"""Use of an utterance to its words in a sentence."""


@dataclass(frozen=True, slots=True)
class LineUse:
    """One utterance. ``why_not``: use to the reason why it is impossible; no entry if possible."""

    clip_id: str
    source: str
    start_s: float
    split: str
    speaker: str
    text: str
    why_not: dict[str, str]


@dataclass(frozen=True, slots=True)
class UseCount:
    """How many of ``of`` utterances have a use; ``reasons``: why not, with counts."""

    usable: int
    of: int
    reasons: dict[str, int]


@dataclass(frozen=True, slots=True)
class LineUses:
    """What the utterances of a project can be used for.

    ``uses``: by use. ``train`` and ``retrieve`` count the utterances of the training split,
    ``measure`` those of the other splits, ``speak`` all. ``lines``: only those that lack a use, if
    they were asked for.
    """

    utterances: int
    uses: dict[str, UseCount]
    lines: tuple[LineUse, ...] = ()

    def sentence(self) -> str:
        """``8 utterances can be: 1 of 8 trained on, 8 of 8 spoken, 8 of 8 retrieved``."""
        said = [
            f"{count.usable} of {count.of} {USES[use]}"
            for use, count in self.uses.items()
            if count.of
        ]
        return f"{self.utterances} utterances can be: {', '.join(said)}"

    def reasons(self) -> list[str]:
        """``7 are not trained on: 7 × no durations (…)``, one sentence per use that lacks any."""
        return [
            f"{_are(count.of - count.usable)} not {USES[use]}: "
            + "; ".join(f"{number} × {why}" for why, number in list(count.reasons.items())[:3])
            for use, count in self.uses.items()
            if count.of > count.usable
        ]

    def said(self, *, listed: bool = False) -> list[str]:
        """All sentences.

        Args:
            listed: the utterances were listed already; else the command that lists them is named.
        """
        reasons = self.reasons()
        hint = ["`redub lines --why` lists them"] if reasons and not listed else []
        return [self.sentence(), *reasons, *hint]


def _are(number: int) -> str:
    return "1 is" if number == 1 else f"{number} are"


def said_uses(project: Project) -> list[str]:
    """What a project's utterances can be used for, as sentences; none without an utterance."""
    store = Store(project)
    return [] if store.clip_frame().is_empty() else line_uses(store).said()


def line_uses(source: Store | Project, *, with_lines: bool = False) -> LineUses:
    """Find what every utterance can be used for under the present settings.

    Args:
        with_lines: name the utterances that lack a use.

    Raises:
        ConfigError: E-STAGE-INGEST, the project has no utterance.
    """
    store = store_of(source)
    clips = store.clip_frame()
    if clips.is_empty():
        raise ConfigError("the project has no utterance; run `redub ingest`", code="E-STAGE-INGEST")
    found = _reasons(store, clips)
    in_train = pl.col("split") == "train"
    members = {"train": in_train, "measure": ~in_train, "retrieve": in_train}
    uses = {}
    for use in USES:
        rows = found.filter(members[use]) if use in members else found
        lacks = rows.filter(pl.col(use) != "")
        reasons = lacks[use].value_counts(sort=True)
        uses[use] = UseCount(len(rows) - len(lacks), len(rows), dict(reasons.iter_rows()))
    return LineUses(len(clips), uses, _lines(found, members) if with_lines else ())


def _reasons(store: Store, clips: pl.DataFrame) -> pl.DataFrame:
    """The clip table with a column per use: why it is impossible; empty where it is possible."""
    audio = feature_of(store.project.config.index)["audio"]
    needed = dict.fromkeys((*RECORDED, "phonemes", "speaker", audio))
    frame, held = clips, store.quarantined()
    for name in needed:
        if name not in store.keys.lacking:
            frame = _with_why(store, frame, name, held)
        else:
            frame = frame.with_columns(pl.lit("its weights are not recorded").alias(_why(name)))
    voice = pl.when(pl.col("speaker") != "").then("speaker").otherwise("source")
    gives_voice = (pl.col("split") == "train") & (_is("mel")) & (_is("speaker"))
    others = gives_voice.sum().over(voice) - gives_voice.cast(pl.Int64)
    recorded = pl.lit("")
    for name in RECORDED:  # the last missing one is the reason, as for the pack
        recorded = pl.when(_is(name)).then(recorded).otherwise(_said(name))
    usable = pl.when(others < 1).then(pl.lit(NO_OTHER_LINE)).otherwise(pl.lit(""))
    speak = pl.when(others < 1).then(pl.lit(NO_VOICE)).otherwise(pl.lit(""))
    return frame.with_columns(
        pl.when(recorded == "").then(usable).otherwise(recorded).alias("train"),
        pl.when(_is("phonemes")).then(speak).otherwise(_said("phonemes")).alias("speak"),
        pl.when(_is(audio)).then(pl.lit("")).otherwise(_said(audio)).alias("retrieve"),
    ).with_columns(pl.col("train").alias("measure"))


def _with_why(store: Store, frame: pl.DataFrame, name: str, held: pl.DataFrame) -> pl.DataFrame:
    """Add the column that says why a feature is absent; empty where it has a value."""
    rows = store.live_features(name, clips=frame)
    absent = store.why_absent(name, live=rows, held=held)
    has = rows.filter(pl.col("valid")).select("clip_id", pl.lit("").alias(_why(name)))
    why = pl.DataFrame(
        {"clip_id": list(absent), _why(name): list(absent.values())},
        schema={"clip_id": pl.String, _why(name): pl.String},
    )
    known = pl.concat([has, why]).unique(subset="clip_id", keep="first")
    joined = frame.join(known, on="clip_id", how="left", maintain_order="left")
    return joined.with_columns(pl.col(_why(name)).fill_null(PENDING))


def _why(name: str) -> str:
    return f"why not {name}"


def _is(name: str) -> pl.Expr:
    return pl.col(_why(name)) == ""


def _said(name: str) -> pl.Expr:
    return pl.format(lacking(name, "{}"), pl.col(_why(name)))


def _lines(found: pl.DataFrame, members: dict[str, pl.Expr]) -> tuple[LineUse, ...]:
    asked = {use: members.get(use, pl.lit(True)) for use in USES}
    rows = found.with_columns(
        *(pl.when(own).then(use).otherwise(pl.lit("")).alias(use) for use, own in asked.items()),
    ).filter(pl.any_horizontal(*(pl.col(use) != "" for use in USES)))
    facts = ("clip_id", "source", "start_s", "split", "speaker", "text")
    return tuple(
        LineUse(**{name: row[name] for name in facts}, why_not={u: row[u] for u in USES if row[u]})
        for row in rows.select(*facts, *USES).iter_rows(named=True)
    )
