"""Who may be retrieved: planted leaks, every reason named, and the rules as properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redub.core.config import from_mapping
from redub.core.errors import ConfigError
from redub.core.types import Clip
from redub.index.library import LibraryTable
from redub.index.policy import ClipFacts, Policy, Reason


def clip(clip_id, **facts):
    defaults = {
        "source": "film.mp4",
        "source_digest": "d" * 64,
        "start_frame": 0,
        "end_frame": 25,
        "film": "Film",
        "scene": "s1",
        "position": 0,
        "speaker": "Ann",
        "rights": "owned",
    }
    return Clip(clip_id=clip_id, **{**defaults, **facts})


QUERY = ClipFacts.of(clip("query", start_frame=100, end_frame=150))


def reasons_of(policy, *clips, query=QUERY):
    table = LibraryTable.from_clips(clips)
    codes = policy.reasons(query, table)
    return {str(i): Reason(int(c)).names for i, c in zip(table.clip_id, codes, strict=True)}


def test_the_clip_itself_and_every_overlapping_cut_of_it_are_refused():
    found = reasons_of(
        Policy(),
        clip("query", start_frame=100, end_frame=150),
        clip("copy", start_frame=100, end_frame=150),  # the same seconds under another id
        clip("inside", start_frame=120, end_frame=121),
        clip("around", start_frame=0, end_frame=999),
        clip("last frame", start_frame=149, end_frame=200),
        clip("touches before", start_frame=50, end_frame=100),  # ends are exclusive
        clip("touches after", start_frame=150, end_frame=200),
        clip("other file", start_frame=100, end_frame=150, source_digest="e" * 64),
    )
    assert found == {
        "query": ("itself", "overlap"),
        "copy": ("overlap",),
        "inside": ("overlap",),
        "around": ("overlap",),
        "last frame": ("overlap",),
        "touches before": (),
        "touches after": (),
        "other file": (),
    }


def test_the_own_id_is_refused_even_when_its_media_changed():
    moved = clip("query", source_digest="e" * 64, start_frame=900, end_frame=950)
    assert reasons_of(Policy(), moved) == {"query": ("itself",)}


def test_unknown_sources_are_not_one_source():
    query = ClipFacts.of(clip("query", source_digest=""))
    assert reasons_of(Policy(), clip("a", source_digest=""), query=query) == {"a": ()}


def test_the_published_self_retrieval_is_a_switch():
    policy = Policy(exclude_self=False)
    assert reasons_of(policy, clip("query", start_frame=100, end_frame=150)) == {"query": ()}


def test_held_out_rows_are_refused_and_cannot_be_asked_for_by_mistake():
    rows = [clip(split, source_digest=split, split=split) for split in ("train", "test", "none")]
    assert reasons_of(Policy(), *rows) == {"none": ("split",), "test": ("split",), "train": ()}
    for split in ("test", "validation"):
        with pytest.raises(ConfigError, match="held out"):
            Policy(splits=("train", split))
    policy = Policy(splits=("test",), allow_held_out=True)
    assert reasons_of(policy, *rows)["test"] == ()


def test_words_that_mean_nothing_are_refused():
    with pytest.raises(ConfigError, match="did you mean 'train'"):
        Policy(splits=("trian",))
    with pytest.raises(ConfigError, match="at least one"):
        Policy(splits=())
    with pytest.raises(ConfigError, match="legal: any, same, other"):
        Policy(speaker="others")
    with pytest.raises(ConfigError, match="did you mean 'exclude_same_scene'"):
        from_mapping(Policy, {"exclude_same_scenes": True})


def test_an_unknown_speaker_is_neither_the_same_nor_another():
    rows = [clip(s or "unknown", speaker=s, source_digest=s + "x") for s in ("Ann", "Bob", "")]
    names = {"Ann": (), "Bob": (), "unknown": ()}
    wrong = ("speaker",)
    assert reasons_of(Policy(), *rows) == names
    same = reasons_of(Policy(speaker="same"), *rows)
    assert same == {"Ann": (), "Bob": wrong, "unknown": wrong}
    other = reasons_of(Policy(speaker="other"), *rows)
    assert other == {"Ann": wrong, "Bob": (), "unknown": wrong}
    anonymous = ClipFacts.of(clip("query", speaker=""))
    for rule in ("same", "other"):
        found = reasons_of(Policy(speaker=rule), *rows, query=anonymous)
        assert all("speaker" in why for why in found.values())


def test_a_scene_belongs_to_its_film():
    found = reasons_of(
        Policy(exclude_same_scene=True),
        clip("next line", start_frame=400, end_frame=450),
        clip("next scene", start_frame=400, end_frame=450, scene="s2"),
        clip("namesake", start_frame=400, end_frame=450, film="Sequel"),
    )
    assert found == {"next line": ("scene",), "next scene": (), "namesake": ()}


def test_films_and_rights_are_lists_of_what_is_allowed():
    policy = Policy(films=("Film", "absent"), rights_required=("owned", "licensed"))
    found = reasons_of(
        policy,
        clip("a", source_digest="a"),
        clip("b", source_digest="b", film="Sequel"),
        clip("c", source_digest="c", rights=""),
        clip("d", source_digest="d", rights="licensed"),
        clip("e", source_digest="e", rights="unknown", film="Sequel"),
    )
    assert found == {"a": (), "b": ("film",), "c": ("rights",), "d": (), "e": ("film", "rights")}


def test_lines_next_to_the_query_can_be_left_out():
    lines = [clip(f"at {k}", start_frame=400, end_frame=450, position=k) for k in range(6)]
    away = clip("other scene", start_frame=400, end_frame=450, position=2, scene="s2")
    query = ClipFacts.of(clip("query", start_frame=100, end_frame=150, position=2))
    found = reasons_of(Policy(adjacent_lines=2), *lines, away, query=query)
    near, far = ("adjacent",), ()
    assert found == {
        "at 0": near, "at 1": near, "at 2": near, "at 3": near, "at 4": near, "at 5": far,
        "other scene": far,
    }  # fmt: skip
    with pytest.raises(ConfigError, match="adjacent_lines"):
        Policy(adjacent_lines=-1)


def test_single_clips_can_be_let_in_or_kept_out():
    rows = [clip(name, source_digest=name) for name in ("a", "b", "c")]
    policy = Policy(include=("a", "b", "gone"), exclude=("b",))
    assert reasons_of(policy, *rows) == {"a": (), "b": ("excluded",), "c": ("not_included",)}


words = st.sampled_from(["", "a", "b", "c"])
clips = st.builds(
    clip,
    st.text("xyz", min_size=1, max_size=3),
    source_digest=words,
    start_frame=st.integers(0, 20),
    end_frame=st.integers(21, 40),
    film=words,
    scene=words,
    position=st.integers(0, 9),
    speaker=words,
    rights=words,
    split=st.sampled_from(["train", "validation", "test", "none"]),
)
policies = st.builds(
    Policy,
    exclude_self=st.booleans(),
    splits=st.sampled_from([("train",), ("train", "none"), ("test", "train")]),
    allow_held_out=st.just(True),
    speaker=st.sampled_from(["any", "same", "other"]),
    exclude_same_scene=st.booleans(),
    films=st.sampled_from([(), ("a",), ("a", "b")]),
    rights_required=st.sampled_from([(), ("a",)]),
    adjacent_lines=st.integers(0, 3),
    include=st.sampled_from([(), ("x", "yy", "z"), ("xyz",)]),
    exclude=st.sampled_from([(), ("x",), ("yy", "zz")]),
)


def may_be_retrieved(policy, query, row):
    """The rules once more, one clip at a time."""
    if policy.exclude_self:
        if row.clip_id == query.clip_id:
            return False
        shared = range(max(row.start_frame, query.start_frame), min(row.end_frame, query.end_frame))
        if query.source_digest and row.source_digest == query.source_digest and len(shared):
            return False
    if policy.speaker != "any" and not (row.speaker and query.speaker):
        return False
    if policy.speaker == "same" and row.speaker != query.speaker:
        return False
    if policy.speaker == "other" and row.speaker == query.speaker:
        return False
    if policy.exclude_same_scene and (row.film, row.scene) == (query.film, query.scene):
        return False
    in_scene = (row.film, row.scene) == (query.film, query.scene)
    apart = abs(row.position - query.position)
    if in_scene and policy.adjacent_lines and apart <= policy.adjacent_lines:
        return False
    if policy.include and row.clip_id not in policy.include:
        return False
    if row.clip_id in policy.exclude:
        return False
    if policy.films and row.film not in policy.films:
        return False
    if policy.rights_required and row.rights not in policy.rights_required:
        return False
    return row.split in policy.splits


@given(
    policies,
    clips,
    st.lists(clips, max_size=8, unique_by=lambda c: c.clip_id),
)
def test_the_mask_is_the_rules_clip_by_clip(policy, query, rows):
    table = LibraryTable.from_clips(rows)
    mask = policy.eligible(ClipFacts.of(query), table)
    ordered = sorted(rows, key=lambda c: c.clip_id)
    assert mask.tolist() == [may_be_retrieved(policy, query, row) for row in ordered]
    reasons = policy.reasons(ClipFacts.of(query), table)
    assert ((reasons == 0) == mask).all()


@given(clips, st.lists(clips, max_size=8, unique_by=lambda c: c.clip_id))
def test_a_stricter_policy_only_removes(query, rows):
    table, facts = LibraryTable.from_clips(rows), ClipFacts.of(query)
    loose = Policy().eligible(facts, table)
    for strict in (
        Policy(speaker="same"),
        Policy(speaker="other"),
        Policy(exclude_same_scene=True),
        Policy(films=("a",)),
        Policy(rights_required=("a",)),
    ):
        assert not (strict.eligible(facts, table) & ~loose).any()
    speakers = [Policy(speaker=s).eligible(facts, table) for s in ("same", "other")]
    assert not np.logical_and(*speakers).any()


@given(st.lists(st.text("abAB_é", min_size=1, max_size=40), unique=True, min_size=1, max_size=12))
def test_every_clip_finds_its_own_row_however_long_its_name(names):
    # Names of more than 15 bytes live on numpy's string heap, where np.searchsorted goes astray.
    table = LibraryTable.from_clips([clip(name, source_digest="") for name in names])
    for name in names:
        assert table.row_of(name) == sorted(names).index(name)
        query = ClipFacts.of(clip(name, source_digest="", start_frame=900, end_frame=901))
        refused = [Reason(int(c)) for c in Policy().reasons(query, table)]
        assert [Reason.ITSELF in r for r in refused] == [n == name for n in sorted(names)]
    assert table.row_of("no such clip") is None
