"""Boxes drawn by the user: the first of the chain, exact where given, straight between."""

import numpy as np
import pytest

from redub.core.errors import ClipError, ModelRefusedError
from redub.features.face.boxes import UserBoxes
from redub.features.face.detector import detector_of
from redub.features.face.track import FaceTrackConfig, FaceTrackExtractor
from tests.features.drawn_faces import media_of, talking
from tests.features.paper.ledgers import CPU, folder_of

HEADER = "clip_id,frame,x,y,w,h\n"
CLIP = "film/scene/0"  # the id of every drawn clip


def boxes_of(tmp_path, *rows, header=HEADER, name="boxes.csv"):
    (tmp_path / name).write_text(header + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    return UserBoxes(folder_of(tmp_path, "face_boxes"))


def refusal(tmp_path, *rows, **settings):
    with pytest.raises(ModelRefusedError) as caught:
        boxes_of(tmp_path, *rows, **settings)
    assert caught.value.code == "E-MODEL-BOXES"
    return caught.value.message


def test_given_boxes_are_kept_and_frames_between_lie_on_a_straight_line(tmp_path):
    rows = boxes_of(tmp_path, f"{CLIP},2,10,20,30,40", f"{CLIP},6,18,16,34,40").rows(
        CLIP, 9, (200, 100)
    )
    assert rows.dtype == np.float32
    # A fourth of (8, -4, 4, 0) per frame from 2 to 6, held outside.
    assert rows[:, :4].tolist() == [
        [10, 20, 30, 40],
        [10, 20, 30, 40],
        [10, 20, 30, 40],
        [12, 19, 31, 40],
        [14, 18, 32, 40],
        [16, 17, 33, 40],
        [18, 16, 34, 40],
        [18, 16, 34, 40],
        [18, 16, 34, 40],
    ]
    assert [detector_of(score) for score in rows[:, 4]] == [
        *(None, None, "user boxes", None, None, None, "user boxes", None, None)
    ]


def test_rows_may_come_in_any_order_and_from_any_number_of_files(tmp_path):
    boxes_of(tmp_path, f"{CLIP},6,18,16,34,40", "other,0,0,0,9,9", name="a.csv")
    both = boxes_of(tmp_path, f"{CLIP},2,10,20,30,40", name="b.csv")
    assert sorted(both.by_clip) == [CLIP, "other"]
    assert both.rows(CLIP, 9, (200, 100))[4, 0] == 14
    assert both.rows("no_clip", 9, (200, 100)) is None


def test_boxes_drawn_on_another_size_are_scaled(tmp_path):
    # Drawn on 1920 x 1080, decoded at 384 x 216: a fifth. An anamorphic source has two factors.
    header = "clip_id,frame,x,y,w,h,width,height\n"
    boxes = boxes_of(tmp_path, f"{CLIP},0,500,100,250,300,1920,1080", header=header)
    assert boxes.rows(CLIP, 1, (384, 216))[0, :4].tolist() == [100, 20, 50, 60]
    assert boxes.rows(CLIP, 1, (192, 216))[0, :4].tolist() == [50, 20, 25, 60]


def test_spreadsheets_may_have_written_the_file(tmp_path):
    text = '\ufeffclip_id,frame,note,x,y,w,h\r\n\r\n"film/scene/0",0,"hero, left",1,2,3,4.5\r\n'
    (tmp_path / "boxes.csv").write_bytes(text.encode())
    rows = UserBoxes(folder_of(tmp_path, "face_boxes")).rows(CLIP, 2, (100, 100))
    assert rows[1].tolist() == [1, 2, 3, 4.5, 0]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (f"{CLIP},0,1,2,3", "line 3: 5 columns, wanted 6"),
        (f"{CLIP},0,1,2,3,4,5", "line 3: 7 columns, wanted 6"),
        (f"{CLIP},-1,1,2,3,4", "line 3: frame is '-1', wanted a whole number from 0"),
        (f"{CLIP},1.5,1,2,3,4", "line 3: frame is '1.5', wanted a whole number from 0"),
        (f"{CLIP},1,left,2,3,4", "line 3: x is 'left', wanted a number"),
        (f"{CLIP},1,nan,2,3,4", "line 3: x is 'nan', wanted a number"),
        (f"{CLIP},1,1,2,inf,4", "line 3: w is 'inf', wanted a number"),
        (f"{CLIP},1,1,2,0,4", "line 3: w is '0', wanted above 0"),
        (f"{CLIP},1,1,2,3,-4", "line 3: h is '-4', wanted above 0"),
        (f"{CLIP},0000000001,1,2,3,4", "line 3: frame is '0000000001', wanted a number of at most"),
        (f"{CLIP},1,1e300,2,3,4", "line 3: x is '1e300', wanted at most 1000000 pixels"),
        (f"{CLIP},1,1,-1000001,3,4", "line 3: y is '-1000001', wanted at most 1000000 pixels"),
        (",1,1,2,3,4", "line 3: clip_id is empty"),
        (f"{CLIP},0,1,2,3,4", "line 3: frame 0 of 'film/scene/0' again (boxes.csv line 2)"),
    ],
)
def test_a_wrong_row_is_refused_with_its_line(tmp_path, row, said):
    message = refusal(tmp_path, f"{CLIP},0,1,2,3,4", row, f"{CLIP},9,1,2,3,4")
    assert f"boxes.csv {said}" in message
    assert "line 2:" not in message
    assert "line 4:" not in message


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (f"{CLIP},{'7' * 5000},1,2,3,4", "wanted a number of at most 9 digits"),
        (f"{CLIP},{'seven' * 900},1,2,3,4", "wanted a whole number from 0"),
        (f"{CLIP},1,{'4' * 300},2,3,4", "wanted at most 1000000 pixels"),
        (f"{CLIP},1,1,2,{'4' * 600},4", "wanted a number"),
        (f"{CLIP},1,1,2,3,{'0' * 600}", "wanted above 0"),
        (f"{'f' * 5000},1,1,2,3,4\n{'f' * 5000},1,1,2,3,4", "line 4: frame 1 of 'fff"),
    ],
    ids=range(6),
)
def test_a_long_cell_is_not_quoted_in_full(tmp_path, row, said):
    message = refusal(tmp_path, f"{CLIP},0,1,2,3,4", row)
    assert said in message
    assert len(message) < 300


def test_a_long_header_is_not_quoted_in_full(tmp_path):
    assert len(refusal(tmp_path, header="x," * 5000 + "\n")) < 300


@pytest.mark.parametrize("size", ["0", "1e-300", "-1920", "0.5"])
def test_a_picture_is_at_least_a_pixel_wide(tmp_path, size):
    header = "clip_id,frame,x,y,w,h,width,height\n"
    message = refusal(tmp_path, f"{CLIP},0,1,2,3,4,{size},1080", header=header)
    assert f"line 2: width is '{size}', wanted at least 1" in message


def test_what_is_said_of_the_furthest_box_is_short(tmp_path):
    header = "clip_id,frame,x,y,w,h,width,height\n"
    row = f"{CLIP},999999999,1000000,1000000,1000000,1000000,1,1"
    boxes = boxes_of(tmp_path, row, header=header)
    with pytest.raises(ClipError, match="frame 999999999, but"):
        boxes.rows(CLIP, 9, (384, 216))
    with pytest.raises(ClipError, match="the box's middle") as refused:
        boxes_of(tmp_path, row.replace("999999999", "0"), header=header).rows(CLIP, 9, (384, 216))
    assert len(refused.value.message) < 200


def test_many_wrong_rows_are_counted(tmp_path):
    message = refusal(tmp_path, *[f"{CLIP},{k},1,2,0,4" for k in range(5)])
    assert message.count("boxes.csv line") == 3
    assert message.endswith("(and 2 more)")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "clip_id;frame;x;y;w;h\n",
        "clip_id,frame,x,y,w\n",
        "clip_id,frame,x,y,w,h,width\n",
        "clip_id,frame,x,y,w,h,x\n",
    ],
)
def test_a_wrong_header_is_refused_before_its_rows(tmp_path, header):
    message = refusal(tmp_path, f"{CLIP},0,1,2,3,4", header=header)
    assert "boxes.csv line 1: the header is" in message
    assert "wanted clip_id,frame,x,y,w,h" in message


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "boxes.csv").write_bytes(HEADER.encode() + b"f\xfcr,0,1,2,3,4\n")
    with pytest.raises(ModelRefusedError, match="not UTF-8"):
        UserBoxes(folder_of(tmp_path, "face_boxes"))


def test_a_box_that_does_not_fit_the_clip_costs_that_clip_and_names_its_line(tmp_path):
    boxes = boxes_of(tmp_path, f"{CLIP},0,1,2,3,4", f"{CLIP},9,900,20,100,40")
    with pytest.raises(ClipError, match="line 3: frame 9, but the clip's frames are 0 to 8"):
        boxes.rows(CLIP, 9, (384, 216))
    with pytest.raises(ClipError, match=r"line 3: the box's middle \(950, 40\).*width,height"):
        boxes.rows(CLIP, 10, (384, 216))
    assert boxes.rows(CLIP, 10, (1920, 1080)) is not None


def test_given_boxes_come_before_every_detector_and_other_clips_go_on_to_them(tmp_path):
    (tmp_path / "boxes.csv").write_text(f"{HEADER}{CLIP},0,5,6,20,20\n")
    config = FaceTrackConfig(boxes="drawn")
    extractor = FaceTrackExtractor(config, {"boxes": folder_of(tmp_path, "face_boxes")}, CPU)
    frames = talking([0.2] * 6)
    rows = extractor.extract(media_of(frames))
    assert rows[:, :4].tolist() == [[5, 6, 20, 20]] * 6
    nothing = extractor.extract(media_of(np.zeros((6, 64, 64, 3))))  # no detector had to agree
    assert nothing[:, :4].tolist() == [[5, 6, 20, 20]] * 6
    (tmp_path / "boxes.csv").write_text(f"{HEADER}another clip,0,5,6,20,20\n")
    extractor = FaceTrackExtractor(config, {"boxes": folder_of(tmp_path, "face_boxes")}, CPU)
    plain = FaceTrackExtractor(FaceTrackConfig()).extract(media_of(frames))
    np.testing.assert_array_equal(extractor.extract(media_of(frames)), plain)


def test_wrong_rows_stop_the_run_and_not_one_clip(tmp_path):
    (tmp_path / "boxes.csv").write_text(f"{HEADER}another clip,0,5,6,20,0\n")
    extractor = FaceTrackExtractor(
        FaceTrackConfig(boxes="drawn"), {"boxes": folder_of(tmp_path, "face_boxes")}, CPU
    )
    with pytest.raises(ModelRefusedError, match=r"boxes\.csv line 2"):
        extractor.extract(media_of(talking([0.2])))
