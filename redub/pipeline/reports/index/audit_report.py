"""What an audit of the index found, as values and as words."""

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
    """One thing that is wrong. ``clip_id`` is the query, or the clip that is held out."""

    kind: Kind
    severity: Severity
    clip_id: str
    other: str
    modality: str
    detail: str


@dataclass(frozen=True, slots=True)
class Share:
    """``hits`` of ``of``, with the 95 % interval of the share (Wilson)."""

    hits: int
    of: int
    value: float
    low: float
    high: float

    @classmethod
    def counted(cls, hits: int, of: int) -> Share | None:
        return None if not of else cls(hits, of, *wilson(hits, of))


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What the hits of one kind do in one modality.

    ``hits`` of ``stored`` rows are of the kind, for ``queries`` different clips. ``precision`` is
    that of ``measured`` labelled queries among them as stored, ``without`` after replacement;
    ``overall`` and ``overall_without`` are over all labelled queries, None where only a sample of
    the queries was searched again. None also where no label can be counted.
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
    """All there is to say about one kind, findings or not."""

    kind: Kind
    leaks: int
    warnings: int
    notes: int
    says: tuple[str, ...]
    effects: tuple[Effect, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """``leaks`` is what decides: 0 is clean, whatever was noted besides."""

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
        """The report for people; of each kind the first ``most`` findings."""
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
        said += [f"not looked at: {what}" for what in self.not_looked_at]
        said.append("no leaks" if not self.leaks else f"{self.leaks} leaks")
        return said


def _percent(share: Share) -> str:
    return f"{share.value:.1%} [{share.low:.1%}, {share.high:.1%}]"
