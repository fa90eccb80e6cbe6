import numpy as np
import pytest

from redub.features.picture.edge_histograms import (
    DIMENSIONS,
    ORIENTATIONS,
    WIDTH,
    edge_histograms,
    face_edges,
    slope_of_edges,
)


def stripes(slope, *, size=32, period=8):
    """Dark and bright stripes that sink ``slope`` rows per column to the right."""
    row, column = np.mgrid[:size, :size]
    return np.sin(2 * np.pi * (row - slope * column) / period)[None].astype(np.float32)


@pytest.mark.parametrize("slope", [-0.4, -0.1, 0.0, 0.1, 0.4])
def test_the_slope_of_drawn_stripes_is_measured(slope):
    # Central differences of a sine see sin(w) for w: sin(w s) / sin(w) for the slope s.
    expected = np.sin(2 * np.pi * slope / 8) / np.sin(2 * np.pi / 8)
    assert slope_of_edges(stripes(slope))[0] == pytest.approx(expected, abs=0.02)


def test_a_flat_picture_has_no_slope_and_no_edges():
    flat = np.full((2, 16, 16), 0.3, dtype=np.float32)
    assert slope_of_edges(flat).tolist() == [0, 0]
    assert not edge_histograms(flat).any()


def test_level_stripes_have_upright_gradients_only():
    histogram = edge_histograms(stripes(0.0)).reshape(-1, ORIENTATIONS)
    upright = ORIENTATIONS // 2  # 90 degrees
    assert (histogram[:, upright] > 0).all()
    assert (np.delete(histogram, upright, axis=1) < 0).all()


def test_length_is_one_and_light_does_not_matter():
    picture = np.random.default_rng(0).normal(0, 1, (3, 24, 28)).astype(np.float32)
    histogram = edge_histograms(picture)
    assert np.linalg.norm(histogram) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(edge_histograms(0.3 * picture + 5), histogram, atol=1e-4)


def test_the_mirror_image_has_the_same_edges():
    picture = np.random.default_rng(1).normal(0, 1, (2, 24, 28)).astype(np.float32)
    np.testing.assert_allclose(
        edge_histograms(picture[:, :, ::-1]), edge_histograms(picture), atol=1e-6
    )


def test_the_order_of_frames_does_not_matter():
    picture = np.random.default_rng(2).normal(0, 1, (4, 24, 28)).astype(np.float32)
    np.testing.assert_allclose(edge_histograms(picture[::-1]), edge_histograms(picture), atol=1e-6)


def test_against_a_slow_oracle_without_interpolation():
    # Gradients at exactly 0 or 90 degrees fall into one bin, so counting needs no shares.
    picture = np.zeros((1, 12, 16), dtype=np.float32)
    picture[0, :, 8:] = 1  # one upright edge in the middle: gradient along x, 0.5 in columns 7, 8
    histogram = np.zeros((3, 2, ORIENTATIONS))
    for row in range(12):
        histogram[row // 4, 1, 0] += 0.5 + 0.5  # both columns, folded into the inner column
    expected = np.sqrt(histogram).ravel()
    expected -= expected.mean()
    expected /= np.linalg.norm(expected)
    np.testing.assert_allclose(edge_histograms(picture), expected, atol=1e-6)


def test_face_edges_have_one_entry_per_name():
    faces = np.random.default_rng(3).normal(0, 1, (30, 64, 64)).astype(np.float32)
    edges = face_edges(faces)
    assert edges.shape == (len(DIMENSIONS),) == (2 * WIDTH,)
    assert np.linalg.norm(edges) == pytest.approx(np.sqrt(2), abs=1e-5)
    only_brows = faces.copy()
    only_brows[:, 34:] = 0
    assert face_edges(only_brows)[:WIDTH].any()
    assert not face_edges(only_brows)[WIDTH:].any()
