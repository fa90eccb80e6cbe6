"""Lip features from arrays: which is whose, how long, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from redub.core.errors import FeatureAbsent, ModelRefusedError
from redub.features.mouth.imported_lips import KIND, ImportedLipConfig, ImportedLips
from redub.pipeline.stages.extract import extract
from redub.pipeline.stages.ingest import ingest
from redub.pipeline.store.project import open_project
from redub.pipeline.store.tables import Store
from redub.pipeline.store.weights import add_weights
from redub.pipeline.work.executor import Scheduler
from tests.features.paper.ledgers import CPU, folder_of
from tests.features.voices import media_of
from tests.pipeline.films import make_project

SYNC = Scheduler("sync", 1)


def table(rows, width=6, kind=np.float32):
    return np.arange(rows * width).reshape(rows, width).astype(kind) / 8


def save(folder, **arrays):
    folder.mkdir(exist_ok=True)
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)
    return folder


def lips(folder):
    return ImportedLips(ImportedLipConfig(), {KIND: folder_of(folder, KIND)}, CPU)


def clip_media(pictures, name="night-0003"):
    media = media_of(np.zeros(16_000))
    clip = replace(media.clip, clip_id=name, start_frame=10, end_frame=10 + pictures)
    return replace(media, clip=clip)


@pytest.mark.parametrize(("rows", "wanted"), [
    (30, [*range(30)]), (32, [*range(30)]), (28, [*range(28), 27, 27]),
])  # fmt: skip
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_rows_are_the_clips_pictures(tmp_path, rows, wanted, kind):
    found = lips(save(tmp_path / "w", **{"night-0003": table(rows, kind=kind), "a": table(3)}))
    values = found.extract(clip_media(30))
    assert (found.schema.width, values.dtype, values.shape) == (6, np.float32, (30, 6))
    np.testing.assert_array_equal(values, table(rows, kind=kind)[wanted].astype(np.float32))


@pytest.mark.parametrize(("values", "code", "says"), [
    (table(26), "E-FEAT-FILE", "has 26 rows, the clip 30 frames"),
    (table(30, width=5), "E-FEAT-FILE", "is 5 wide, a.npy is 6"),
    (table(30)[None], "E-FEAT-FILE", "wanted (frames, width)"),
    (table(0), "E-FEAT-FILE", "wanted (frames, width)"),
    (np.ones((30, 6), np.int32), "E-FEAT-FILE", "holds int32; wanted floats"),
    (np.array([[{}]], object), "E-FEAT-FILE", "cannot be read as a NumPy array"),
])  # fmt: skip
def test_what_is_not_about_the_clip_leaves_it_without_lips(tmp_path, values, code, says):
    found = lips(save(tmp_path / "w", **{"night-0003": values, "a": table(3)}))
    with pytest.raises(FeatureAbsent) as absent:
        found.extract(clip_media(30))
    assert absent.value.code == code
    assert says in str(absent.value)


def test_a_file_that_was_cut_off_and_one_that_is_missing_are_named(tmp_path):
    folder = save(tmp_path / "w", **{"night-0003": table(30), "a": table(3)})
    whole = (folder / "night-0003.npy").read_bytes()
    (folder / "night-0003.npy").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FeatureAbsent, match="cannot be read"):
        lips(folder).extract(clip_media(30))
    with pytest.raises(FeatureAbsent, match=r"no night-0004\.npy among the 2 files") as absent:
        lips(folder).extract(clip_media(30, "night-0004"))
    assert absent.value.code == "E-FEAT-NOFILE"
    (folder / "a.npy").write_bytes(b"no array")
    with pytest.raises(ModelRefusedError, match="cannot be read"):
        _ = lips(folder).schema


def test_a_project_takes_them_and_a_clip_without_a_file_has_no_lips(tmp_path):
    root = make_project(tmp_path / "p", sources=1, toml='[features.lips]\nbackend = "import"\n')
    ingest(open_project(root), scheduler=SYNC)
    first, second = Store(open_project(root)).clips()
    folder = save(tmp_path / "w", **{first.clip_id: table(first.video_frames)})
    add_weights(root, KIND, folder, licence="CC-BY-NC-4.0")
    done = extract(open_project(root), scheduler=SYNC, features=["lips"])
    assert done.quarantined == 0
    store = Store(open_project(root))
    np.testing.assert_array_equal(store.read("lips")[first.clip_id], table(first.video_frames))
    assert second.clip_id not in store.read("lips")
    rows = {row["clip_id"]: row["why_not"] for row in store.live_features("lips").to_dicts()}
    assert "E-FEAT-NOFILE" in rows[second.clip_id]
    assert store.keys.by_name["lips"].document["licence"] == "CC-BY-NC-4.0"
