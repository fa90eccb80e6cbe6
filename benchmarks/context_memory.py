"""Time and memory of M2CI-Dubber's graph and of HPMDubbing's reading of the face.

    python benchmarks/context_memory.py [--lines 1] [--threads 2] [--steps 50 100 200 400]

Both are one layer forwards and backwards, each in a process of its own: the block form against the
dense one with a (B, H, N, N, 2 E) tensor for the N = 4 L nodes of the graph (width 256, two heads),
and additive attention in parts against the published form with (B, T, V, 256) tensors (25 pictures
and 100 mel frames a second). The block form is measured at 400 phonemes and batch 8, too. Peak is
the largest resident memory less what there was when the inputs were made. A form that does not fit
into the limit says so.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from redub.model.blocks.interaction_graph import SLOPE, InteractionAttention
from redub.model.layers.additive_attention import AdditiveAttention

WIDTH, HEADS, SEQUENCES = 256, 2, 4
LIMIT_GIB = 20
ROW = "{:42} {:>10} {:>10} {:>7} {:>10} {:>10} {:>7}"


def dense_graph(layer: InteractionAttention, nodes: Tensor) -> Tensor:
    """The same graph with a score made from every pair of nodes, side by side."""
    lines, sequences, steps, width = nodes.shape
    group = torch.arange(sequences).repeat_interleave(steps)
    clock = torch.arange(steps).repeat(sequences)
    same, together = group[:, None] == group, clock[:, None] == clock
    words = (group[:, None] == sequences - 1) | (group == sequences - 1)
    kinds = torch.where(same, 0, torch.where(words, 2, 1))
    there = same ^ together  # the same sequence at another step, or another one at the same step
    states = layer.project(nodes).reshape(lines, sequences * steps, HEADS, -1).transpose(1, 2)
    count = sequences * steps
    pairs = torch.cat(
        (
            states.unsqueeze(3).expand(-1, -1, -1, count, -1),
            states.unsqueeze(2).expand(-1, -1, count, -1, -1),
        ),
        dim=-1,
    )
    score = torch.cat((layer.query_weight, layer.key_weight), dim=-1)
    scores = torch.einsum("bhijd,hd->bhij", pairs, score) + layer.kind[:, kinds]
    weights = F.leaky_relu(scores, SLOPE).masked_fill(~there, float("-inf")).softmax(-1)
    return (weights @ states).transpose(1, 2).reshape(lines, sequences, steps, width)


def published_reading(layer: AdditiveAttention, query: Tensor, memory: Tensor) -> Tensor:
    """HPMDubbing's form: the pairs are kept, and weighed themselves."""
    pairs = query.unsqueeze(2) + layer.to_key(memory).unsqueeze(1) + layer.bias
    weights = layer.to_score(pairs.tanh()).softmax(2)
    read: Tensor = (weights * pairs).sum(2)
    return read


def job(name: str, lines: int, length: int) -> Any:
    """A function that does one forward and backward pass."""
    torch.manual_seed(0)
    if name.startswith("graph"):
        layer = InteractionAttention(WIDTH, HEADS, 0.0)
        nodes = torch.randn(lines, SEQUENCES, length, WIDTH, requires_grad=True)
        valid = torch.ones(lines, length, dtype=torch.bool)

        def graph() -> Tensor:
            if name == "graph dense":
                return dense_graph(layer, nodes)
            return layer(nodes, valid, current=True, current_intra=True)  # type: ignore[no-any-return]

        return graph
    if name.startswith("face"):
        reader = AdditiveAttention(WIDTH)
        query = torch.randn(lines, 4 * length, WIDTH, requires_grad=True)
        memory = torch.randn(lines, length, WIDTH, requires_grad=True)
        shown = torch.ones(lines, length, dtype=torch.bool)

        def face() -> Tensor:
            if name == "face published":
                return published_reading(reader, query, memory)
            return reader(query, memory, shown)  # type: ignore[no-any-return]

        return face
    raise KeyError(name)


def measured(name: str, lines: int, length: int, threads: int) -> dict[str, float]:
    torch.set_num_threads(threads)
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_GIB * 2**30, LIMIT_GIB * 2**30))
    work = job(name, lines, length)
    before = _status("VmRSS")
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        work().square().sum().backward()
        seconds.append(time.perf_counter() - start)
    return {"s": min(seconds), "mib": _status("VmHWM") - before}


def _status(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise KeyError(name)


def in_own_process(name: str, lines: int, length: int, threads: int) -> dict[str, float] | None:
    """:func:`measured` in a process of its own; None where it does not fit."""
    command = [sys.executable, __file__, "--job", name, str(lines), str(length), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        if "allocate" not in done.stderr:
            raise RuntimeError(done.stderr)
        return None
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def show(what: str, own: dict[str, float] | None, other: dict[str, float] | None) -> None:
    def cell(side: dict[str, float] | None, key: str) -> str:
        return (
            "no room" if side is None else f"{side[key]:.2f}" if key == "s" else f"{side[key]:.0f}"
        )

    def ratio(key: str) -> str:
        return "–" if own is None or other is None else f"{other[key] / own[key]:.1f}"

    print(
        ROW.format(
            what, cell(other, "s"), cell(own, "s"), ratio("s"),
            cell(other, "mib"), cell(own, "mib"), ratio("mib"),
        ),
        flush=True,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lines", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, nargs="+", default=[50, 100, 200, 400])
    parser.add_argument("--job", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        name, *numbers = options.job
        print(json.dumps(measured(name, *map(int, numbers))))
        return
    lines, threads = options.lines, options.threads
    print(f"{lines} lines, float32, {threads} threads, at most {LIMIT_GIB} GiB of addresses")
    print(ROW.format("", "dense, s", "block, s", "ratio", "MiB", "MiB", "ratio"))
    for length in options.steps:
        show(
            f"graph, {length} phonemes",
            in_own_process("graph block", lines, length, threads),
            in_own_process("graph dense", lines, length, threads),
        )
    show("graph, 400 phonemes, batch 8", in_own_process("graph block", 8, 400, threads), None)
    print(ROW.format("", "publ., s", "parts, s", "ratio", "MiB", "MiB", "ratio"))
    for seconds in (2, 5, 10):
        show(
            f"face, a line of {seconds} s",
            in_own_process("face parts", lines, 25 * seconds, threads),
            in_own_process("face published", lines, 25 * seconds, threads),
        )


if __name__ == "__main__":
    main()
