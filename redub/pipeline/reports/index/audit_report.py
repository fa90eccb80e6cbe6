"""Findings of an audit of the index, as values and as sentences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from redub.evaluation.intervals import wilson

Severity = Literal["leak", "warning", "note"]


Kind = Literal[
    "self_hit",
    "same_scene",
    "near_duplicate_audio",
    "duplicate_text",
    "held_out_in_library",
    "stale_neighbours",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding. ``clip_id`` is the query or the held-out clip; ``other`` the other clip.

    ``modality`` is empty where the finding concerns all modalities.
    """

    kind: Kind
    severity: Severity
    clip_id: str
    other: str
    modality: str
    detail: str


@dataclass(frozen=True, slots=True)
class Share:
    """The share of ``hits`` among ``of``, with its 95 % Wilson interval."""

    hits: int
    of: int
    value: float
    low: float
    high: float

    @classmethod
    def counted(cls, hits: int, of: int) -> Share | None:
        """The share with its interval; None where ``of`` is 0."""
        return None if not of else cls(hits, of, *wilson(hits, of))


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """The effect of the hits of one kind in one modality.

    ``hits`` of ``stored`` rows are of the kind, for ``queries`` different clips. ``precision`` is
    the precision@K of ``measured`` labelled queries among these clips as stored; ``without`` is the
    same after replacement. ``overall`` and ``overall_without`` are over all labelled queries; the
    latter is None where only a sample of the queries was searched again. All are None where no
    label can be counted.
    """

    modality: str
    hits: int
    stored: int
    queries: int
    measured: int
    precision: Share | None
    without: Share | None
    overall: Share | None
    overall_without: Share | None

    def line(self, k: int) -> str:
        """The effect as a sentence."""
        text = f"{self.modality}: {self.hits} of {self.stored} hits, in {self.queries} queries"
        if self.precision is None or self.without is None:
            return f"{text}; not measured: no emotion labels, or vectors of another extractor"
        text += (
            f"; precision@{k} of {self.measured} of them {_percent(self.precision)}, "
            f"without those hits {_percent(self.without)}"
        )
        if self.overall is not None and self.overall_without is not None:
            before, after = self.overall.value, self.overall_without.value
            text += f"; of all queries {before:.1%}, without {after:.1%}"
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class KindReport:
    """Counts, sentences and effects of one kind of finding; also of a kind without findings."""

    kind: Kind
    leaks: int
    warnings: int
    notes: int
    says: tuple[str, ...]
    effects: tuple[Effect, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """All findings of an audit; the index is clean where ``leaks`` is 0.

    ``not_looked_at``: sentences about what could not be checked.
    """

    build: str
    is_fresh: bool
    k: int
    clips: int
    library: int
    stored_hits: int
    leaks: int
    kinds: tuple[KindReport, ...]
    findings: tuple[Finding, ...]
    not_looked_at: tuple[str, ...]

    def lines(self, most: int = 5) -> list[str]:
        """The report in sentences, with at most ``most`` findings of each kind."""
        state = "up to date" if self.is_fresh else "out of date"
        said = [
            f"index {self.build} ({state}): {self.clips} clips, {self.library} in the library, "
            f"{self.stored_hits} stored hits"
        ]
        for report in self.kinds:
            said += [f"{report.kind}: {sentence}" for sentence in report.says]
            said += [f"  {effect.line(self.k)}" for effect in report.effects]
            own = [finding for finding in self.findings if finding.kind == report.kind]
            said += [
                f"  {finding.severity}: {finding.clip_id} ← {finding.other}"
                + (f" [{finding.modality}]" if finding.modality else "")
                + f": {finding.detail}"
                for finding in own[:most]
            ]
            if len(own) > most:
                said.append(f"  … and {len(own) - most} more (--json names all)")
        said += [f"not checked: {what}" for what in self.not_looked_at]
        said.append("no leaks" if not self.leaks else f"{self.leaks} leaks")
        return said


def _percent(share: Share) -> str:
    return f"{share.value:.1%} [{share.low:.1%}, {share.high:.1%}]"
