"""The contact sheet out of a real store: stored boxes, re-decoded pictures, reasons, choice."""

from types import SimpleNamespace

import numpy as np
import pytest

from redub.core.errors import ConfigError, UsageError
from redub.features.face.crops import WHOLE_FACE, grey_crops
from redub.footage.encode import write_clip
from redub.pipeline.reports.face_views import face_views
from redub.pipeline.reports.faces import FACE_FEATURES, face_sheet, write_face_sheet
from redub.pipeline.stages.extract import extract
from redub.pipeline.stages.ingest import ingest
from redub.pipeline.store.project import open_project
from redub.pipeline.store.tables import Store
from redub.pipeline.store.weights import add_weights
from redub.pipeline.work.executor import Scheduler
from tests.features.drawn_faces import talking
from tests.pipeline.films import pictures, voice

SYNC = Scheduler("sync", 1)
FACE, WALL, DRAWN, BROKEN = "face-0001", "wall-0001", "drawn-0001", "far-0001"
BOXES = f"""clip_id,frame,x,y,w,h
{DRAWN},0,10,12,30,30
{DRAWN},19,29,12,30,30
{BROKEN},99,10,10,20,20
somebody else,0,1,1,1,1
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Four clips: a face, none, none with boxes by the user, and one whose boxes are wrong."""
    root = tmp_path_factory.mktemp("faces")
    footage = root / "footage"
    footage.mkdir()
    sound = voice(0.8, f0_hz=120, seed=0)
    write_clip(footage / "face.mp4", list(talking([0.2, 0.6] * 10)), 25, sound)
    for name, hue in (("wall", 20), ("drawn", 80), ("far", 140)):
        write_clip(footage / f"{name}.mp4", pictures(20, hue=hue), 25, sound)
    boxes = root / "boxes.csv"
    boxes.write_text(BOXES)
    (root / "redub.toml").write_text(
        'name = "faces"\n[features.face_track]\nboxes = "face_boxes"\n', encoding="utf-8"
    )
    add_weights(root, "face_boxes", boxes)
    project = open_project(root)
    ingest(project, scheduler=SYNC)
    with pytest.raises(ConfigError, match="redub extract") as caught:
        face_sheet(project, None, 24)
    assert caught.value.code == "E-STAGE-EXTRACT"
    extract(project, scheduler=SYNC, features=list(FACE_FEATURES))
    return project


@pytest.fixture(scope="module")
def sheet(project):
    return face_sheet(project, None, 24)


def clip_of(sheet, clip_id):
    return next(clip for clip in sheet.clips if clip.clip_id == clip_id)


def test_every_clip_says_who_found_its_face_and_what_placed_its_mouth(sheet):
    assert clip_of(sheet, FACE).face_source == (
        "found in 4 of the searched frames (frontal 4), followed through all 20; "
        "longest stretch between two finds: 4 frames"
    )
    assert clip_of(sheet, DRAWN).face_source == (
        "found in 2 of the searched frames (user boxes 2), followed through all 20; "
        "longest stretch between two finds: 18 frames"
    )
    assert clip_of(sheet, DRAWN).mouth_source == clip_of(sheet, FACE).mouth_source == "geometry"
    assert {clip.clip_id: clip.look for clip in sheet.clips} == {
        FACE: "",
        DRAWN: "",  # the gap is long, but the user has looked
        WALL: "no face track",
        BROKEN: "no face track",
    }


def test_boxes_and_mouths_are_the_stored_ones_and_faces_are_cut_from_the_same_frames(
    project, sheet
):
    store = Store(project)
    track, mouths = store.read("face_track")[FACE], store.read("mouth_crop")[FACE]
    moments = clip_of(sheet, FACE).moments
    assert [m.number for m in moments] == [0, 4, 8, 11, 15, 19]
    assert [bool(m.found_by) for m in moments] == [m.number % 5 == 0 for m in moments]
    for m in moments:
        assert m.box == tuple(track[m.number, :4])
        assert m.time_s == m.number / 25
        fed = {f.label: f.picture for f in m.fed}
        assert set(fed) == {"global_face, local_face", "mouth_crop"}
        np.testing.assert_array_equal(fed["mouth_crop"].ravel(), mouths[m.number])
        face = grey_crops(m.frame[None], track[m.number : m.number + 1], WHOLE_FACE, 64)[0]
        np.testing.assert_array_equal(fed["global_face, local_face"], face)
    # A drawn box moves by one pixel a frame: 10 + 8 = 18.
    assert clip_of(sheet, DRAWN).moments[2].box == (18, 12, 30, 30)


def test_nulls_and_quarantined_clips_come_with_their_reasons(sheet):
    wall, broken = clip_of(sheet, WALL), clip_of(sheet, BROKEN)
    assert [feature for feature, _ in wall.trouble] == ["face_track"]
    assert wall.trouble[0][1].startswith("E-FEAT-NOFACE: too few of the 4 searched frames")
    assert len(wall.moments) == 6  # its pictures are shown all the same, without a box
    assert {m.box for m in wall.moments} == {None}
    assert broken.trouble == (
        (
            "face_track",
            "E-FEAT-BOXES: boxes.csv line 4: frame 99, but the clip's frames are 0 to 19",
        ),
    )
    assert [(row.clip_id, row.code) for row in sheet.quarantine] == [(BROKEN, "E-FEAT-BOXES")]
    by_title = {table.title: table for table in sheet.absent}
    assert by_title["face_track"].rows[0][:2] == ("E-FEAT-NOFACE", 1)
    assert by_title["landmarks"].rows[0][:2] == ("E-FEAT-NOLANDMARKS", 2)


def test_the_counts_add_up_to_the_clips(sheet):
    found, placed = sheet.counts
    assert dict(found.rows) == {
        "frontal": 1,
        "user boxes": 1,
        "no value": 1,
        "quarantined or not extracted": 1,
    }
    assert dict(placed.rows) == {"geometry": 2, "no value": 1, "quarantined or not extracted": 1}


def test_boxes_for_clips_that_do_not_exist_are_named(sheet):
    assert any("1 clip that this project does not have: somebody else" in n for n in sheet.notes)


def test_a_choice_is_kept_in_its_order_and_a_count_is_spread_evenly(project):
    wanted = face_sheet(project, [WALL, FACE, WALL], 1)
    assert [clip.clip_id for clip in wanted.clips] == [WALL, FACE]
    every = [clip.clip_id for clip in Store(project).clips()]
    assert [c.clip_id for c in face_sheet(project, None, 2).clips] == [every[0], every[-1]]
    assert [c.clip_id for c in face_sheet(project, None, 1).clips] == [every[0]]


def test_unknown_clips_and_empty_sheets_are_refused(project):
    with pytest.raises(UsageError, match=r"unknown clip 'face-1'.*face-0001"):
        face_sheet(project, ["face-1"], 24)
    with pytest.raises(UsageError, match="at least 1"):
        face_sheet(project, None, 0)


def test_a_source_that_is_gone_costs_its_pictures_only(project, tmp_path):
    source = project.footage_root / "face.mp4"
    source.rename(tmp_path / "away.mp4")
    try:
        clip = face_sheet(project, [FACE], 1).clips[0]
    finally:
        (tmp_path / "away.mp4").rename(source)
    assert clip.moments == ()
    assert clip.face_source.startswith("found in 4 of the searched frames (frontal")
    assert clip.trouble == (("video", "E-IN-MISSING: face.mp4 is gone; bring it back"),)


def test_the_page_is_written_whole(project, tmp_path):
    path = write_face_sheet(project, tmp_path / "deep" / "faces.html", clips=[DRAWN])
    page = path.read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert page.count('<article class="clip') == 1
    assert "(user boxes 2), followed through all 20" in page


# -- what networks got


class Keys:
    """As much of FeatureKeys as face_views asks: each feature's settings."""

    def __init__(self, **margins):
        self.margins = margins

    def configured(self, name):
        margin = self.margins.get(name)
        return SimpleNamespace() if margin is None else SimpleNamespace(margin=margin)


def test_faces_are_shown_as_the_features_settings_cut_them():
    x = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, :, None], (100, 200, 3))
    frames, track = x[None], np.array([[60, 40, 20, 40, 1]], dtype=np.float32)
    views = face_views(Keys(global_face=0.5, local_face=0.0, face_caption=0.25))
    assert list(views) == ["global_face", "local_face", "face_caption"]
    shown = {name: view(frames, track, 0).astype(float) for name, view in views.items()}
    # The box's middle is x = 70; the squares are 40 * 1.5 = 60, 40 and 40 * (1 + 2 * 0.25) = 60.
    for name, side in (("global_face", 60), ("local_face", 40), ("face_caption", 60)):
        assert shown[name].mean() == pytest.approx(70 - 0.5, abs=0.6), name
        assert np.ptp(shown[name]) == pytest.approx(side, abs=2), name


def test_features_that_cut_alike_share_a_picture():
    assert list(face_views(Keys())) == ["global_face, local_face"]
    assert list(face_views(Keys(global_face=0.2, local_face=0.2))) == ["global_face, local_face"]
    assert list(face_views(Keys(local_face=0.2))) == ["global_face", "local_face"]
    both = Keys(local_face=0.2, face_emotion=0.2)
    assert list(face_views(both)) == ["global_face", "local_face, face_emotion"]
