"""Sequences one after another and cut apart again."""

import torch

from redub.model.layers.splice import cut_out, spliced


def part(lengths, width=2, seed=0):
    valid = torch.arange(max(1, *lengths)) < torch.tensor(lengths).unsqueeze(1)
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*valid.shape, width, generator=generator), valid


def test_parts_follow_each_other_without_padding():
    parts = [part((2, 0, 3), seed=1), part((1, 4, 2), seed=2), part((0, 2, 5), seed=3)]
    whole, valid = spliced(parts)
    assert valid.sum(1).tolist() == [3, 6, 10]
    for line in range(3):
        wanted = torch.cat([values[line][real[line]] for values, real in parts])
        assert torch.equal(whole[line][valid[line]], wanted)
        assert float(whole[line][~valid[line]].abs().sum()) == 0.0


def test_cutting_gives_back_what_went_in():
    parts = [part((2, 0, 3), seed=1), part((1, 4, 2), seed=2), part((0, 2, 5), seed=3)]
    whole, _ = spliced(parts)
    middle, valid = parts[1]
    starts = parts[0][1].sum(1)
    assert torch.equal(cut_out(whole, starts, valid), middle * valid.unsqueeze(-1))
    marks = torch.arange(whole.size(1)).expand(3, -1)
    assert cut_out(marks, starts, valid)[1].tolist() == [0, 1, 2, 3]


def test_whole_numbers_and_gradients_pass():
    values, valid = part((2, 3))
    values.requires_grad_()
    ids = torch.tensor([[5, 6, 0], [7, 8, 9]])
    assert spliced([(ids, valid), (ids, valid)])[0].tolist() == [
        [5, 6, 5, 6, 0, 0], [7, 8, 9, 7, 8, 9]
    ]  # fmt: skip
    spliced([(values, valid)])[0].sum().backward()
    assert torch.equal(values.grad, valid.unsqueeze(-1).expand_as(values).float())


def test_nothing_at_all_is_one_empty_place():
    values, valid = part((0, 0))
    whole, real = spliced([(values, valid)])
    assert whole.shape == (2, 1, 2)
    assert not real.any()
