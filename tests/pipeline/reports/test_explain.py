"""The casting sheet out of a real store: the index's own answers, reasons, marks, notes."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redub.core.errors import UsageError
from redub.core.types import EMOTIONS, MODALITIES
from redub.features.text.emotion_lexicon import weights_of
from redub.index.notes import Notes
from redub.index.policy import ClipFacts, Reason
from redub.pipeline.reports.index import casting_sheet as explain
from redub.pipeline.reports.index.casting_sheet import casting_sheet, write_casting_sheet
from redub.pipeline.reports.index.marked_words import WORDS_OF, emotion_words, pieces
from redub.pipeline.stages.extract import extract
from redub.pipeline.stages.index import build_index
from redub.pipeline.stages.ingest import ingest
from redub.pipeline.store.index.builds import open_index, policy_of
from redub.pipeline.store.project import open_project
from redub.pipeline.store.tables import Store
from redub.pipeline.work.executor import Scheduler
from redub.pipeline.work.extraction import Toolbox
from redub.pipeline.work.query import query_clip
from tests.pipeline.films import add_source

SYNC = Scheduler("sync", 1)
LINE = "alpha~scene_0-0002"
FEATURES = [
    "waveform",
    *(f"{modality}_emotion" for modality in (*MODALITIES, "audio")),
    *(f"{modality}_emotion_probs" for modality in MODALITIES),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Two films of two scenes in the library, one scene held out; no clip shows a face."""
    root = tmp_path_factory.mktemp("explain")
    footage = root / "footage"
    for seed, name in enumerate(("alpha/scene_0", "alpha/scene_1", "beta/scene_2", "beta/scene_3")):
        film, scene = name.split("/")
        add_source(footage / film, scene, seed=seed, lines=3)
    add_source(footage / "beta", "held", seed=7, lines=2)
    (footage / "splits.csv").write_text("source,split\nbeta/held.mp4,test\n")
    (footage / "emotions.csv").write_text(
        "source,line,emotion\nbeta/scene_2.mp4,1,happy\nbeta/scene_3.mp4,2,happy\n"
        "alpha/scene_1.mp4,1,angry\n"
    )
    (root / "redub.toml").write_text('name = "small"\n', encoding="utf-8")
    project = open_project(root)
    ingest(project, scheduler=SYNC)
    extract(project, scheduler=SYNC, features=FEATURES)
    build_index(project)
    return project


def with_index(project, **settings):
    index = dataclasses.replace(project.config.index, **settings)
    return dataclasses.replace(project, config=dataclasses.replace(project.config, index=index))


@pytest.fixture(scope="module")
def sheet(project):
    return casting_sheet(project, LINE)


def named(sheet, modality):
    return next(m for m in sheet.modalities if m.modality == modality)


def test_the_sheet_shows_what_the_index_answers(project, sheet):
    answer = query_clip(project, LINE)
    assert [m.modality for m in sheet.modalities] == list(MODALITIES)
    for m in sheet.modalities:
        shown = [(h.rank, h.clip.clip_id, h.score, h.margin, h.clip.speaker) for h in m.hits]
        asked = [(n.rank, n.clip_id, n.score, n.margin, n.speaker) for n in answer[m.modality]]
        assert shown == asked
        assert m.after is None
        assert len(shown) == (0 if m.modality == "face" else 3)
    assert sheet.line.clip_id == LINE
    assert sheet.line.text == "we should go home now"


def test_a_modality_without_a_vector_says_why_in_the_extractors_words(project, sheet):
    face = named(sheet, "face")
    live = Store(project).live_features("face_emotion")
    (why,) = live.filter(live["clip_id"] == LINE)["why_not"]
    assert "E-FEAT-NOFACE" in why
    assert face.silence == f"The line has no face_emotion, so nothing was searched: {why}"
    assert face.candidates == 0
    assert face.hits == ()
    assert named(sheet, "text").silence == ""


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"speaker": "other", "adjacent_lines": 1, "films": ("alpha",)},
        {"exclude_same_scene": True, "exclude": ("beta~scene_2-0001",), "rights": ("ours",)},
        {"include": ("beta~scene_3-0001", LINE), "speaker": "same"},
    ],
)
def test_the_reasons_are_the_policys_for_every_clip(project, settings):
    changed = with_index(project, **settings)
    made = casting_sheet(changed, LINE, k=1)
    index = open_index(changed)
    facts = next(ClipFacts.of(clip) for clip in index.clips if clip.clip_id == LINE)
    codes = policy_of(changed.config.index).reasons(facts, index.table)
    wanted = Counter(
        (clip.clip_id, name.replace("_", " "))
        for clip, code in zip(index.clips, codes, strict=True)
        for name in Reason(int(code)).names
    )
    shown = Counter((lost.clip_id, r.name) for r in made.reasons for lost in r.clips)
    assert shown == wanted
    assert {r.name: r.count for r in made.reasons} == Counter(name for _, name in wanted)
    for r in made.reasons:
        assert r.count_before is None
        for lost in r.clips:
            others = {name for clip_id, name in wanted if clip_id == lost.clip_id} - {r.name}
            assert set(lost.also) == others
    assert made.eligible == np.count_nonzero(codes == 0)
    assert made.library == len(codes)


def test_every_reason_has_its_words():
    assert set(WORDS_OF) == set(Reason)


def test_library_and_outside_are_all_clips(project, sheet):
    (test,) = sheet.outside
    assert (test.name, test.count) == ("test split", 2)
    assert {lost.clip_id for lost in test.clips} == {"beta~held-0001", "beta~held-0002"}
    assert sheet.library + test.count == len(Store(project).clips()) == 14


def test_a_held_out_line_can_be_explained(project):
    made = casting_sheet(project, "beta~held-0001")
    assert made.reasons == ()
    assert made.eligible == made.library == 12


def test_candidates_are_eligible_clips_with_a_vector(project):
    made = casting_sheet(with_index(project, films=("beta",)), LINE, k=50)
    assert named(made, "scene").candidates == 6
    assert len(named(made, "scene").hits) == 6
    assert named(made, "scene").silence == "6 of 50: no other eligible clip has a scene_emotion."


def test_settings_that_cut_hits_off_are_named(project):
    made = casting_sheet(with_index(project, min_score=2.0), LINE)
    said = "0 of 3: the rest were cut off by the lowest score of 2."
    assert named(made, "text").silence == said
    none_left = casting_sheet(with_index(project, films=("alpha",), exclude_same_scene=True), LINE)
    alone = with_index(project, films=("alpha",), include=("beta~scene_2-0001",))
    assert named(none_left, "text").candidates == 3
    assert (
        named(casting_sheet(alone, LINE), "text").silence
        == "No clip was retrieved: no eligible clip has a text_emotion."
    )


def test_a_project_whose_k_is_zero_says_so(project):
    made = casting_sheet(with_index(project, k=0), LINE)
    assert made.summary == "K is 0 in this project: no clip is retrieved."
    assert named(made, "text").silence == "K is 0, so nothing was searched."
    assert {m.hits for m in made.modalities} == {()}


def test_unknown_clips_are_refused_with_the_nearest(project):
    with pytest.raises(UsageError, match=r"alpha~scene_0-0002"):
        casting_sheet(project, "alpha~scene_0-002")


def test_long_lists_are_cut_and_counted(project, monkeypatch):
    monkeypatch.setattr(explain, "MOST_NAMED", 4)
    made = casting_sheet(with_index(project, films=("beta",)), LINE, k=1)
    (film,) = [r for r in made.reasons if r.name == "film"]
    assert film.count == 6
    assert [lost.clip_id for lost in film.clips] == [
        *(f"alpha~scene_0-000{n}" for n in (1, 2, 3)),
        "alpha~scene_1-0001",
    ]


# -- what the cards show


def test_classes_are_the_stored_ones(project, sheet):
    store = Store(project)
    for m in sheet.modalities:
        assert m.labels == EMOTIONS
        stored = store.read(f"{m.modality}_emotion_probs")
        assert m.shares == tuple(map(float, stored.get(LINE, ())))
        for h in m.hits:
            assert h.shares == tuple(map(float, stored[h.clip.clip_id]))
            assert sum(h.shares) == pytest.approx(1, abs=1e-5)


def test_every_clip_is_decoded_once_and_plays(project, monkeypatch):
    decoded = Counter()
    decode = Toolbox.decode

    def counted(self, clip, **wanted):
        decoded[clip.clip_id] += 1
        return decode(self, clip, **wanted)

    monkeypatch.setattr(Toolbox, "decode", counted)
    made = casting_sheet(project, LINE, notes=Notes.parse(films=["beta"]))
    shown = {h.clip.clip_id: h.clip for m in made.modalities for h in (*m.hits, *(m.after or ()))}
    shown[LINE] = made.line
    assert decoded == dict.fromkeys(shown, 1)
    for clip in shown.values():
        assert clip.picture.poster.shape == (64, 96, 3)
        assert clip.picture.mp4[4:8] == b"ftyp"
        assert len(clip.sound.waveform.samples) == 20 * 640
        assert not clip.trouble


def test_a_source_that_is_gone_costs_its_pictures_only(project, tmp_path):
    source = project.footage_root / "alpha" / "scene_0.mp4"
    source.rename(tmp_path / "away.mp4")
    try:
        made = casting_sheet(project, LINE)
    finally:
        (tmp_path / "away.mp4").rename(source)
    assert made.line.picture is None
    assert made.line.sound is not None
    assert made.line.trouble == "E-IN-MISSING: scene_0.mp4 is gone; bring it back"
    assert len(named(made, "text").hits) == 3


def names_an_emotion(word):
    """Whether a word has any weight but for ``neutral``; a door has none."""
    weights = weights_of(word)
    return weights is not None and any(np.delete(weights, EMOTIONS.index("neutral")))


def test_a_door_names_no_emotion():
    assert not emotion_words([("text", "The door of the office. A table.")])
    assert emotion_words([("text", "The furious door")]) == {"furious"}


def test_marked_words_are_emotion_words_of_both_sides(project, sheet):
    seen = 0
    for m in sheet.modalities:
        own = "".join(p.text for t in m.texts for p in t.pieces).lower()
        for h in m.hits:
            texts = [t for t in h.texts if t.title in {t.title for t in m.texts}]
            other = "".join(p.text for t in texts for p in t.pieces).lower()
            marks = [p.text.lower() for t in h.texts for p in t.pieces if p.shared]
            seen += len(marks)
            for word in marks:
                assert weights_of(word) is not None
                assert word in own
            # Plain oracle for these captions, in which every emotion word has one form only.
            words = set("".join(c if c.isalpha() else " " for c in own).split())
            shared = words & set("".join(c if c.isalpha() else " " for c in other).split())
            shared = {word for word in shared if names_an_emotion(word)}
            assert set(marks) == shared
    assert seen > 0


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("Furious! A furious-looking, furiously happy man", ["Furious", "furious", "furiously"]),
        ("FURIOUS’s", ["FURIOUS’s"]),
        ("infuriouser happy", []),
        ("", []),
        ("<script>furious</script>", ["furious"]),
    ],
)
def test_words_are_found_wherever_they_stand(text, marked):
    found = pieces(text, {"furious"})
    assert [p.text for p in found if p.shared] == marked
    assert "".join(p.text for p in found) == text


@given(
    st.text(st.sampled_from("angry happy'’-.\u0130ſK<>")),
    st.sets(st.sampled_from(["angry", "happy", "sad"])),
)
def test_pieces_are_the_text(text, shared):
    found = pieces(text, shared)
    assert "".join(p.text for p in found) == text
    assert all(p.text for p in found)


# -- director's notes


def test_notes_show_before_and_after(project):
    notes = Notes.parse(films=["alpha"], unlike=["alpha~scene_1-0001"])
    before, after = query_clip(project, LINE), query_clip(project, LINE, notes=notes)
    made = casting_sheet(project, LINE, notes=notes)
    assert list(made.notes) == notes.lines()
    for m in made.modalities:
        assert [h.clip.clip_id for h in m.hits] == [n.clip_id for n in before[m.modality]]
        assert [h.clip.clip_id for h in m.after] == [n.clip_id for n in after[m.modality]]
        assert [h.score for h in m.after] == [n.score for n in after[m.modality]]
        assert all(h.clip.film == "alpha" for h in m.after)
        there = {h.clip.clip_id for h in m.after}
        for h in m.hits:
            why = ""
            if h.clip.film == "beta":
                why = WORDS_OF[Reason.FILM]
            elif h.clip.clip_id == "alpha~scene_1-0001":
                why = WORDS_OF[Reason.EXCLUDED]
            elif h.clip.clip_id not in there:
                why = "other clips rank higher"
            assert h.why_gone == why
    counts = {r.name: (r.count_before, r.count) for r in made.reasons}
    assert counts == {"itself": (1, 1), "overlap": (1, 1), "film": (0, 6), "excluded": (0, 1)}
    assert (made.eligible_before, made.eligible) == (11, 4)
    assert named(made, "scene").candidates == 4


def test_a_turned_query_changes_scores_and_no_reasons(project):
    made = casting_sheet(project, LINE, notes=Notes.parse(more=["joy:4"]))
    scene = named(made, "scene")
    assert [h.score for h in scene.hits] != [h.score for h in scene.after]
    assert [r.count for r in made.reasons] == [r.count_before for r in made.reasons]
    assert made.eligible == made.eligible_before


def test_empty_notes_are_none(project, sheet):
    made = casting_sheet(project, LINE, notes=Notes())
    assert [m.after for m in made.modalities] == [None] * 3
    assert made.eligible_before is None


def test_the_page_is_written_whole(project, tmp_path):
    path = write_casting_sheet(
        project, LINE, tmp_path / "deep" / "casting.html", k=2, notes=Notes.parse(films=["beta"])
    )
    page = path.read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert page.count('<li class="hit card') == 2 * 2 * 2  # two modalities, before and after
    assert open_index(project).build in page
