"""Ways to spoil a checkpoint of one file, each with the code it must be refused with."""

from __future__ import annotations

import shutil

import pytest
import torch

from redub.core.errors import ModelRefusedError
from tests.features.paper.ledgers import Payload, folder_of


def changed(file, part, change):
    """Rewrite a file after ``change(its table of tensors)``."""
    content = torch.load(file, weights_only=False)
    change(content if part is None else content[part])
    torch.save(content, file)


def without_one(file, part):
    changed(file, part, lambda state: state.pop(next(iter(state))))


def with_one_more(file, part):
    changed(file, part, lambda state: state.update({"decoder.blocks.0.weight": torch.zeros(3)}))


def with_wrong_shape(file, part):
    def widen(state):
        first = next(iter(state))
        state[first] = torch.zeros(*state[first].shape, 2)

    changed(file, part, widen)


def cut_off(file, part):
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * 2 // 3])


def as_pointer(file, part):
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")


def with_code(file, part):
    marker = file.parent / "code-ran"
    torch.save({"model": Payload(marker), "model_state_dict": Payload(marker)}, file)


FAULTS = [
    pytest.param(without_one, "E-MODEL-KEYS", id="a tensor missing"),
    pytest.param(with_one_more, "E-MODEL-KEYS", id="a tensor too many"),
    pytest.param(with_wrong_shape, "E-MODEL-SHAPE", id="a wrong shape"),
    pytest.param(cut_off, "E-MODEL-FILE", id="cut off"),
    pytest.param(as_pointer, "E-MODEL-LFS", id="a git-lfs pointer"),
    pytest.param(with_code, "E-MODEL-CODE", id="code in the pickle"),
]


def assert_refused(fault, code, made, name, part, kind, build, tmp_path):
    """Spoil a copy of a made checkpoint and see it refused, with nothing run.

    made: the folder; name: its file; part: key of the table of tensors in it; build: makes an
    extractor of a WeightFolder.
    """
    folder = tmp_path / "spoilt"
    shutil.copytree(made, folder)
    fault(folder / name, part)
    with pytest.raises(ModelRefusedError) as caught:
        build(folder_of(folder, kind)).load()
    assert (caught.value.code, caught.value.exit_code) == (code, 8)
    assert not (folder / "code-ran").exists()
