"""One process of a run with several; started by test_replicas.py under torchrun.

torchrun --nproc-per-node N -m tests.training.replicated_runs FOLDER STEPS ACCUMULATE
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

import torch

from redub.training.replicas import Replicas
from tests.training.made import QUICK, SMALL, SOUND, make_lines, train


def main(folder, steps, accumulate):
    torch.set_num_threads(1)
    lines = make_lines()
    train(
        lines[:8], lines[8:], replace(QUICK, accumulate=accumulate), folder,
        model_config=SMALL, audio=SOUND, max_steps=steps, replicas=Replicas.joined(),
    )  # fmt: skip


def in_place_of_torchrun(rank, count, port, *words):
    """The same in a process that nothing but its environment joins to the others."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
    os.environ |= {"LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1"}
    os.environ |= {"MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    main(*words)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
