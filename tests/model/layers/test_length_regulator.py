import torch
from hypothesis import given
from hypothesis import strategies as st

from redub.model.layers.length_regulator import fill, stretch


def logs(durations):
    return torch.tensor(durations, dtype=torch.float64).log1p()


def real(lengths, longest):
    return torch.arange(longest) < torch.tensor(lengths).unsqueeze(1)


@given(
    st.lists(st.floats(0, 200), min_size=1, max_size=30),
    st.integers(1, 400),
    st.integers(0, 5),
)
def test_durations_fill_the_picture_exactly(durations, total, padding):
    valid = real([len(durations)], len(durations) + padding)
    padded = torch.cat((logs(durations), torch.full((padding,), 7.0))).unsqueeze(0)
    filled = fill(padded, valid, torch.tensor([total]))
    assert int(filled.sum()) == total
    assert int(filled[0, len(durations) :].sum()) == 0
    assert int(filled.min()) >= 0
    if total >= len(durations):
        assert int(filled[0, : len(durations)].min()) >= 1


def test_durations_that_fit_already_are_kept():
    # 3 + 1 + 8 = 12 frames for 12 frames: nothing to change, and e^log1p(d) - 1 is d again.
    valid = real([3], 3)
    assert fill(logs([[3, 1, 8]]), valid, torch.tensor([12])).tolist() == [[3, 1, 8]]


def test_proportions_are_kept_when_the_picture_is_longer():
    # 2 : 4 : 6 stretched to 24 frames is 4 : 8 : 12.
    valid = real([3], 3)
    assert fill(logs([[2, 4, 6]]), valid, torch.tensor([24])).tolist() == [[4, 8, 12]]


def test_largest_remainders_win_and_ties_go_to_the_earlier():
    # Three equal phonemes in 8 frames: 2.67 each, so 2 each and the two spare ones go first.
    valid = real([3], 3)
    assert fill(logs([[5, 5, 5]]), valid, torch.tensor([8])).tolist() == [[3, 3, 2]]


def test_a_phoneme_that_asks_for_nothing_still_gets_a_frame():
    # 0.0, 9.0 in 10 frames: one frame for the first, the rest for the second.
    assert fill(logs([[0, 9]]), real([2], 2), torch.tensor([10])).tolist() == [[1, 9]]


@given(st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=8), min_size=1, max_size=4))
def test_frames_follow_a_plain_python_repeat(lines):
    longest = max(map(len, lines))
    durations = torch.tensor([row + [0] * (longest - len(row)) for row in lines])
    states = torch.arange(1.0, durations.numel() + 1).view(*durations.shape, 1)
    frames = max(1, int(durations.sum(1).max()))
    stretched = stretch(states, durations, frames)
    for row, line in enumerate(lines):
        expected = [states[row, p, 0].item() for p, count in enumerate(line) for _ in range(count)]
        assert stretched[row, :, 0].tolist() == expected + [0.0] * (frames - len(expected))
