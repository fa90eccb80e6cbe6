"""The casting sheet: one page that explains which clips one utterance retrieves, and why.

Reads the newest index build, the stored captions, emotion probabilities and sounds of the utterance
and its retrieved clips, and their video frames (decoded in the decoder child). Writes one HTML
file.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from redub import __version__
from redub.core.durable import commit_bytes
from redub.core.errors import ClipError
from redub.core.types import MODALITIES, ByteArray, Clip, Value, Waveform
from redub.footage.encode import write_clip
from redub.index.notes import Notes
from redub.index.policy import Reason
from redub.pages.casting import (
    CastClip,
    CastHit,
    CastingSheet,
    CastModality,
    CastReason,
    CastText,
    LeftOut,
    Piece,
    render_casting,
)
from redub.pages.contents import Picture, Sound
from redub.pipeline.reports.index.casting_query import (
    CastingAnswer,
    CastingQuestion,
    CastingSearch,
    casting_question,
    casting_search,
)
from redub.pipeline.reports.index.marked_words import (
    WORDS_OF,
    emotion_words,
    marked_text,
    plain_words,
    spelled_words,
)
from redub.pipeline.store.index.builds import features_of, policy_of
from redub.pipeline.store.ledger import WHOLE_CLIP
from redub.pipeline.store.project import Project
from redub.pipeline.store.settings import MODALITY_FEATURES
from redub.pipeline.work.decoders import close_decoders
from redub.pipeline.work.extraction import Toolbox
from redub.pipeline.work.query import check_k, check_notes

CAPTION_OF = {"scene": "scene_caption", "face": "face_caption"}


SHARES_OF = {modality: f"{modality}_emotion_probs" for modality in MODALITIES}


MOST_NAMED = 200  # clips listed under one reason; the page says how many more there are


FILM_CRF = 30  # as in the report: small files in which a face can be seen


def write_casting_sheet(
    project: Project,
    clip_id: str,
    output: Path,
    *,
    k: int | None = None,
    notes: Notes | None = None,
) -> Path:
    """Explain the retrieved clips of one utterance in one page.

    Args:
        k: retrieved clips per modality; None for the project's K.
        notes: director's notes; the page then shows the results without and with them.

    Raises:
        UsageError: an unknown clip, with the nearest known one, or ``k`` below 1.
        ConfigError: there is no index, or it is out of date (names the stage to run).
    """
    page = render_casting(casting_sheet(project, clip_id, k=k, notes=notes))
    commit_bytes(output, page.encode("utf-8"))
    return output


def casting_sheet(
    project: Project, clip_id: str, *, k: int | None = None, notes: Notes | None = None
) -> CastingSheet:
    """Collect everything that the page shows from the index, the store and the footage."""
    check_k(k)
    notes = notes or Notes()
    question = casting_question(project, clip_id, project.config.index.k if k is None else k)
    check_notes(question.index, notes)
    before = casting_search(project, question, Notes())
    after = casting_search(project, question, notes) if notes else None
    gather = _Gatherer(project, question, before, after)
    library, now = len(question.index.table), after or before
    return CastingSheet(
        title=f"{clip_id}: casting sheet",
        project=project.config.name,
        created=time.strftime("%Y-%m-%d %H:%M"),
        line=gather.cast[clip_id],
        summary=_summary(question.k, library - len(now.lost)),
        line_facts=_line_facts(question.clip, project.config.video.fps),
        line_texts=gather.captions(),
        notes=tuple(notes.lines()),
        modalities=tuple(gather.modality(name) for name in MODALITIES),
        library=library,
        eligible=library - len(now.lost),
        eligible_before=library - len(before.lost) if after else None,
        reasons=gather.reasons(),
        outside=gather.outside(),
        facts=gather.facts(),
    )


# -- sentences


def _summary(k: int, eligible: int) -> str:
    if k == 0:
        return "K is 0 in this project: no clip is retrieved."
    wanted = f"the {k} most similar clips" if k > 1 else "the most similar clip"
    of = f"{eligible} eligible clips" if eligible != 1 else "1 eligible clip"
    return f"Each of {len(MODALITIES)} modalities retrieves {wanted}, out of {of}."


def _line_facts(clip: Clip, fps: int) -> tuple[tuple[str, str], ...]:
    facts = (
        ("speaker", clip.speaker or "not known"),
        ("film", clip.film),
        ("scene", clip.scene),
        ("split", clip.split),
        ("source", clip.source),
        ("slot", f"{clip.start_frame / fps:.2f} s to {clip.end_frame / fps:.2f} s"),
    )
    return tuple((name, value) for name, value in facts if value)


class _Gatherer:
    """Collects what the shown clips need; each feature is read and each clip decoded once."""

    def __init__(
        self,
        project: Project,
        question: CastingQuestion,
        before: CastingSearch,
        after: CastingSearch | None,
    ) -> None:
        self.project, self.question, self.before, self.after = project, question, before, after
        self.store, self.index, self.clip_id = question.store, question.index, question.clip.clip_id
        self.features = features_of(self.store)
        self.lost = (after or before).lost
        self.clips = {clip.clip_id: clip for clip in self.store.clips()}
        searches = (before, after) if after else (before,)
        hits = [hit for search in searches for found in search.hits.values() for hit in found]
        shown = dict.fromkeys([self.clip_id, *(hit.clip_id for hit in hits)])
        names = ("waveform", "reaction", *CAPTION_OF.values(), *SHARES_OF.values())
        self.values: dict[str, dict[str, Value]] = {
            name: self.store.read(name, shown) for name in names
        }
        self.cast = self._cast(shown)

    # -- clips

    def _cast(self, shown: Iterable[str]) -> dict[str, CastClip]:
        tools = Toolbox(self.project)
        try:
            return {clip_id: self._clip(self.clips[clip_id], tools) for clip_id in shown}
        finally:
            close_decoders()

    def _clip(self, clip: Clip, tools: Toolbox) -> CastClip:
        sound, picture, trouble = self._sound(clip.clip_id), None, ""
        if clip.has_video:
            try:
                frames = tools.decode(clip, frames=True, sound=False).frames
            except ClipError as error:
                frames, trouble = None, str(error)
            if frames is not None:
                picture = self._film(clip, frames, sound)
        return CastClip(
            clip_id=clip.clip_id,
            text=clip.text,
            speaker=clip.speaker,
            emotion=clip.emotion,
            film=clip.film,
            scene=clip.scene,
            picture=picture,
            sound=None if sound is None else Sound(waveform=sound),
            trouble=trouble,
        )

    def _sound(self, clip_id: str) -> Waveform | None:
        stored = self.values["waveform"].get(clip_id)
        if stored is None:
            return None
        samples = np.asarray(stored)[:, 0].astype(np.float32) / 32768.0
        return Waveform(samples, self.project.config.audio.sample_rate_hz)

    def _film(self, clip: Clip, frames: ByteArray, sound: Waveform | None) -> Picture:
        config = self.project.config
        if sound is None:
            silence = config.audio.sample_count(clip.video_frames, config.video)
            sound = Waveform(np.zeros(silence, np.float32), config.audio.sample_rate_hz)
        with tempfile.TemporaryDirectory(prefix="redub-page-") as folder:
            path = Path(folder) / "clip.mp4"
            write_clip(path, frames, config.video.fps, sound, crf=FILM_CRF)
            return Picture(mp4=path.read_bytes(), poster=frames[len(frames) // 2])

    def captions(self) -> tuple[CastText, ...]:
        """The line's captions without marks; a missing caption with its reason."""
        texts = []
        for name in CAPTION_OF.values():
            value = self.values[name].get(self.clip_id)
            said = f"none: {self._why_not(name)}" if value is None else str(value)
            texts.append(CastText(title=name.replace("_", " "), pieces=(Piece(said),)))
        return tuple(texts)

    # -- modalities

    def modality(self, name: str) -> CastModality:
        """One modality of the page: the query's texts and classes, and the retrieved clips."""
        before = self.before.hits[name]
        after = None if self.after is None else self.after.hits[name]
        query_texts = self._texts(name, self.clip_id)
        own = emotion_words(query_texts)
        retrieved = [hit.clip_id for hit in (*before, *(after or ()))]
        shared = own & set().union(*(emotion_words(self._texts(name, hit)) for hit in retrieved))
        remaining = None if after is None else {hit.clip_id for hit in after}
        candidates = self._candidates(name)
        found = len(before if after is None else after)
        return CastModality(
            modality=name,
            similarity=self._similarity(name),
            texts=marked_text(query_texts, shared),
            labels=self._labels(name),
            shares=self._shares(name, self.clip_id),
            hits=tuple(self._hit(name, hit, own, remaining) for hit in before),
            after=None if after is None else tuple(self._hit(name, hit, own) for hit in after),
            candidates=candidates,
            silence=self._silence(name, found, candidates),
        )

    def _similarity(self, name: str) -> str:
        of = "the two halves of " if self.index.modalities[name].halves else ""
        own = self.index.modalities[name]
        after = "" if own.transform is None else f" after {own.transform_name}"
        metric = self.project.config.index.metric.replace("_", " ")
        return f"{metric} of {of}{self.features[name]}{after}"

    def _hit(
        self, name: str, hit: CastingAnswer, own: set[str], remaining: set[str] | None = None
    ) -> CastHit:
        """``remaining``: clips that are retrieved with the notes; None without notes."""
        texts = self._texts(name, hit.clip_id)
        marked = marked_text(texts, own & emotion_words(texts))
        if name != "text":
            marked += (CastText(title="line", pieces=(Piece(self.clips[hit.clip_id].text),)),)
        is_gone = remaining is not None and hit.clip_id not in remaining
        return CastHit(
            rank=hit.rank,
            clip=self.cast[hit.clip_id],
            score=hit.score,
            margin=hit.margin,
            texts=tuple(text for text in marked if any(piece.text for piece in text.pieces)),
            shares=self._shares(name, hit.clip_id),
            why_gone=self._why_gone(hit.clip_id) if is_gone else "",
        )

    def _why_gone(self, clip_id: str) -> str:
        names = self.lost.get(clip_id, ())
        return (
            ", ".join(WORDS_OF[Reason[name.upper()]] for name in names) or "other clips rank higher"
        )

    def _texts(self, name: str, clip_id: str) -> tuple[tuple[str, str], ...]:
        """The texts that a modality's vector is computed from: (title, text), without empty ones.

        A vector that is measured on video frames has no texts.
        """
        if not self._is_worded(name):
            return ()
        if name in CAPTION_OF:
            caption = self.values[CAPTION_OF[name]].get(clip_id)
            return () if caption is None else ((CAPTION_OF[name].replace("_", " "), str(caption)),)
        line = self.clips[clip_id].text
        reaction = str(self.values["reaction"].get(clip_id, ""))
        texts = (("line", line), ("reaction", "" if reaction == line.strip() else reaction))
        return tuple((title, text) for title, text in texts if text)

    def _is_worded(self, name: str) -> bool:
        """Whether a modality's vector comes from words, as its emotion probabilities do."""
        return self.features[name] == MODALITY_FEATURES[name][0]

    def _labels(self, name: str) -> tuple[str, ...]:
        extractor: Any = self.store.keys.make(SHARES_OF[name], checked=False)
        labels: tuple[str, ...] = extractor.labels
        return labels

    def _shares(self, name: str, clip_id: str) -> tuple[float, ...]:
        value = self.values[SHARES_OF[name]].get(clip_id) if self._is_worded(name) else None
        return () if value is None else tuple(float(share) for share in np.asarray(value))

    def _candidates(self, name: str) -> int:
        """Eligible clips that have a vector in this modality."""
        ids = self.index.table.clip_id[self.index.modalities[name].rows].tolist()
        return sum(clip_id not in self.lost for clip_id in ids)

    def _silence(self, name: str, found: int, candidates: int) -> str:
        """Why fewer than K clips were retrieved; empty where K were."""
        feature, k = self.features[name], self.question.k
        if not self.question.vectors[name]:
            return f"The line has no {feature}, so nothing was searched: {self._why_not(feature)}"
        if k == 0:
            return "K is 0, so nothing was searched."
        if found >= k:
            return ""
        if candidates == 0:
            return f"No clip was retrieved: no eligible clip has a {feature}."
        if found == candidates:
            return f"{found} of {k}: no other eligible clip has a {feature}."
        config = self.project.config.index
        cuts = [] if config.min_score is None else [f"the lowest score of {config.min_score:g}"]
        cuts += ["the widest gap between scores"] if config.adaptive == "gap" else []
        return f"{found} of {k}: the rest were cut off by {' and '.join(cuts)}."

    def _why_not(self, feature: str) -> str:
        """Why the line has no value of a feature, as it is stored."""
        live = self.store.live_features(feature).filter(pl.col("clip_id") == self.clip_id)
        if len(live):
            return str(live["why_not"][0])
        held = self.store.quarantined().filter(
            pl.col("clip_id") == self.clip_id, pl.col("feature").is_in([feature, WHOLE_CLIP])
        )
        if len(held):
            return f"{held['code'][0]}: {held['message'][0]}"
        return "it was not extracted yet; run `redub extract`"

    # -- clips that were left out

    def reasons(self) -> tuple[CastReason, ...]:
        """One row per reason that excluded a clip, with or without the notes."""
        under, old = _by_reason(self.lost), None
        if self.after is not None:
            old = {name: len(ids) for name, ids in _by_reason(self.before.lost).items()}
        rows = []
        for flag, words in WORDS_OF.items():
            (name,) = flag.names
            ids = under.get(name, [])
            if not ids and not (old or {}).get(name):
                continue
            rows.append(
                CastReason(
                    name=plain_words(name),
                    words=words,
                    count=len(ids),
                    count_before=None if old is None else old.get(name, 0),
                    clips=tuple(
                        self._left_out(
                            clip_id, [plain_words(x) for x in self.lost[clip_id] if x != name]
                        )
                        for clip_id in ids[:MOST_NAMED]
                    ),
                )
            )
        return tuple(rows)

    def outside(self) -> tuple[CastReason, ...]:
        """Clips of the project that the library does not have."""
        library = set(self.index.table.clip_id.tolist())
        by_split: dict[str, list[str]] = defaultdict(list)
        for clip in self.clips.values():
            if clip.clip_id not in library:
                by_split[clip.split].append(clip.clip_id)
        rows = []
        for split, ids in sorted(by_split.items()):
            name, words = f"{split} split", "the library has training clips only"
            if split == "train":
                name, words = (
                    "no audio vector",
                    "a clip without an audio emotion vector is of no use",
                )
            clips = tuple(self._left_out(clip_id) for clip_id in sorted(ids)[:MOST_NAMED])
            rows.append(CastReason(name=name, words=words, count=len(ids), clips=clips))
        return tuple(rows)

    def _left_out(self, clip_id: str, also: Sequence[str] = ()) -> LeftOut:
        clip = self.clips[clip_id]
        return LeftOut(
            clip_id=clip_id,
            speaker=clip.speaker,
            film=clip.film,
            scene=clip.scene,
            text=clip.text,
            also=tuple(also),
        )

    # -- facts

    def facts(self) -> tuple[tuple[str, str], ...]:
        """Build, settings and keys: with the same facts the page shows the same clips."""
        config = self.project.config.index
        policy = policy_of(config)
        rules = {field.name: getattr(policy, field.name) for field in fields(policy)}
        keys = self.store.keys
        used = list(self.features.values())
        used += [*CAPTION_OF.values(), "reaction", *SHARES_OF.values()]
        splits = Counter(clip.split for clip in self.clips.values())
        return (
            ("redub", __version__),
            ("index build", self.index.build),
            ("library", f"{len(self.index.table)} of {len(self.clips)} clips"),
            ("clips by split", ", ".join(f"{n} {split}" for split, n in sorted(splits.items()))),
            ("K", str(self.question.k)),
            ("index settings", spelled_words(asdict(config))),
            ("policy", spelled_words(rules)),
            *((name, f"{keys.by_name[name].key} by {keys.backend(name)}") for name in used),
        )


def _by_reason(excluded: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for clip_id, names in excluded.items():
        for name in names:
            found[name].append(clip_id)
    return found
