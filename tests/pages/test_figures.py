import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from redub.pages.figures import Estimate, Series, line_chart, nice_ticks, number, whisker_chart


def value_of(label):
    return float(label.replace("−", "-").replace("\u202f", ""))


def scale_of(ticks):
    """Percent → value, worked out from the printed labels alone."""
    (a, pa), (b, pb) = (ticks[0], ticks[-1])
    slope = (value_of(b) - value_of(a)) / (pb - pa)
    return lambda percent: value_of(a) + slope * (percent - pa)


def points_of(chart, path=0):
    return [
        tuple(float(v) / 10 for v in pair.split(","))
        for piece in chart.paths[path].pieces
        for pair in piece.split()
    ]


def test_a_straight_line_can_be_read_back_from_points_and_labels():
    x = np.arange(0, 101, 5.0)
    chart = line_chart([Series("one", 2, x, 3 * x - 40)], title="t", x_label="step", y_label="dB")
    to_x, to_y = scale_of(chart.x_ticks), scale_of(chart.y_ticks)
    read = [(to_x(px), to_y(py)) for px, py in points_of(chart)]
    np.testing.assert_allclose(read, np.stack([x, 3 * x - 40], axis=1), atol=0.25)


def test_two_series_share_one_scale():
    chart = line_chart(
        [Series("low", 2, [0, 1], [0, 0]), Series("high", 3, [0, 1], [10, 10])],
        title="t",
        x_label="x",
        y_label="y",
    )
    to_y = scale_of(chart.y_ticks)
    assert to_y(points_of(chart, 0)[0][1]) == pytest.approx(0, abs=0.02)
    assert to_y(points_of(chart, 1)[0][1]) == pytest.approx(10, abs=0.02)


def test_gaps_break_the_line_and_a_lone_point_is_still_drawn():
    y = [1, 2, math.nan, 5, math.inf, 3, 4]
    chart = line_chart([Series("s", 2, range(7), y)], title="t", x_label="x", y_label="y")
    assert [len(set(piece.split())) for piece in chart.paths[0].pieces] == [2, 1, 2]
    assert len(chart.paths[0].pieces[1].split()) == 2  # a line needs two points to be seen


@pytest.mark.parametrize("y", [[], [math.nan, math.nan]])
def test_nothing_to_draw_is_no_chart(y):
    assert line_chart([Series("s", 2, range(len(y)), y)], title="t", x_label="", y_label="") is None


def test_a_constant_curve_stands_in_the_middle():
    chart = line_chart([Series("s", 2, [0, 1], [7, 7])], title="t", x_label="", y_label="")
    assert [y for _, y in points_of(chart)] == [50.0, 50.0]


def test_long_curves_are_thinned_to_means_with_both_ends_kept():
    x = np.arange(5001.0)
    chart = line_chart([Series("s", 2, x, x % 2)], title="t", x_label="", y_label="")
    to_y = scale_of(chart.y_ticks)
    points = points_of(chart)
    assert len(points) == 500
    assert all(0.4 < to_y(y) < 0.6 for _, y in points)  # means of a zigzag, not its peaks
    assert points[0][0] < 0.2
    assert points[-1][0] > 99.8


@example(1.0, 40001.0, 2)  # 50 000 is above its half and misses the range
@given(st.floats(-1e4, 1e4), st.floats(0.1, 1e6), st.integers(2, 8))
def test_ticks_are_round_inside_and_evenly_spaced(low, span, wanted):
    ticks = nice_ticks(low, low + span, wanted)
    assert 1 <= len(ticks) <= wanted + 1
    assert all(low - 1e-6 * span <= t <= low + span * (1 + 1e-6) for t in ticks)
    if len(ticks) > 1:
        steps = np.diff(ticks)
        np.testing.assert_allclose(steps, steps[0], rtol=1e-6)
        digit = steps[0] / 10 ** math.floor(math.log10(steps[0]) + 1e-9)
        assert min(abs(digit - m) for m in (1, 2, 5)) < 1e-6


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (-3.25, "−3.25"), (12345.6, "12\u202f346"), (0.1 + 0.2, "0.3"), (math.nan, "–")],
)
def test_numbers_are_short(value, text):
    assert number(value) == text


def test_whiskers_stand_where_their_values_are():
    rows = [Estimate("a", 0, 10.0, 5.0, 15.0, "10"), Estimate("b", 2, 20.0, None, None, "20")]
    chart = whisker_chart(rows, title="t", x_label="%", marker=("base", 12.0))
    read = scale_of(chart.ticks)
    a, b = chart.rows
    assert [read(p) for p in (a.low, a.value, a.high, b.value)] == pytest.approx(
        [5, 10, 15, 20], abs=1e-3
    )
    assert read(chart.marker.percent) == pytest.approx(12.0, abs=1e-3)
    assert (b.low, b.high) == (None, None)


def test_a_metric_without_values_is_no_chart():
    rows = [Estimate("a", 0, None, None, None, "–")]
    assert whisker_chart(rows, title="t", x_label="", marker=("base", 1.0)) is None
