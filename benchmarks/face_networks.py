"""Face networks: many images at once against one by one, and memory against the weights' size.

Each network has random weights of its real size (``--tiny``: smaller ones), written to a checkpoint
and loaded by its extractor in a process of its own. One run; look at the ratio, not at the seconds.

    python benchmarks/face_networks.py [--tiny] [--frames 16] [--clips 3] [--device auto]

With ``--emonet FILE --faces FOLDER`` it looks at a real EmoNet checkpoint instead: which wiring
fits the batch statistics in the file. The folder holds cropped faces, square, as many
different ones as there are (64 are plenty). The first line wins; see docs/extractors/emonet.md.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from redub.core.durable import folder_digests
from redub.features.runtime import Runtime
from redub.features.weights.folder import WeightFolder

NETWORKS = ("mae_dfer", "emonet", "lrw_lips")


def resident_mib() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def give_back_freed_memory() -> None:
    """Have glibc return what it keeps for later, so that what is left is in use."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def write_weights(kind: str, folder: Path, tiny: bool) -> None:
    """Random weights as this process's own networks name them, in the published layout."""
    import torch

    torch.manual_seed(0)
    if kind == "mae_dfer":
        from redub.features.models.mae_dfer.network import LgiFormer

        state = LgiFormer(width=64 if tiny else 512, depth=2 if tiny else 16).state_dict()
        torch.save({"model": state, "epoch": 99}, folder / "dfew_fold1.pth")
    elif kind == "emonet":
        from redub.features.models.emonet.network import EmoNet

        state = EmoNet(width=16 if tiny else 256, vector=16 if tiny else 256).state_dict()
        torch.save(
            {f"module.{key}": value for key, value in state.items()}, folder / "emonet_8.pth"
        )
    else:
        from redub.features.models.lrw_lips.network import LipResNet

        torch.save({"model_state_dict": LipResNet("swish").state_dict()}, folder / "lips.pth")


def extractor_and_inputs(
    kind: str, weights: WeightFolder, runtime: Runtime, options: argparse.Namespace
) -> tuple[Any, list[Any], Callable[[Any, Any], Any]]:
    """An extractor, its prepared inputs, and a function that computes some of them."""
    random = np.random.default_rng(0)
    folders = {"model": weights}
    if kind == "mae_dfer":
        from redub.features.models.mae_dfer.extractor import MaeDferConfig, MaeDferExtractor

        config = MaeDferConfig(width=64 if options.tiny else 512)
        shape = (options.clips, 1, 16, 160, 160, 3)
        clips = list(random.integers(0, 256, shape, dtype=np.uint8))
        return MaeDferExtractor(config, folders, runtime), clips, lambda e, part: e.compute(part)
    if kind == "emonet":
        from redub.features.models.emonet.extractor import EmoNetConfig, EmoNetExtractor, read_faces

        extractor = EmoNetExtractor(
            EmoNetConfig(width=16 if options.tiny else 256), folders, runtime
        )
        faces = list(random.integers(0, 256, (options.frames, 256, 256, 3), dtype=np.uint8))
        return extractor, faces, lambda e, part: read_faces(e.network, np.stack(part), len(part))
    from redub.features.models.lrw_lips.extractor import LrwLipConfig, LrwLipExtractor, read_lips

    lips = LrwLipExtractor(LrwLipConfig(activation="swish"), folders, runtime)
    mouths = list(random.integers(0, 256, (4 * options.frames, 96, 96), dtype=np.uint8))
    return lips, mouths, lambda e, part: read_lips(e.network, np.stack(part), len(part))


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(kind: str, options: argparse.Namespace) -> dict[str, Any]:
    import torch

    runtime = Runtime(device=options.device)
    with tempfile.TemporaryDirectory() as scratch:
        write_weights(kind, Path(scratch), options.tiny)
        size = sum(file.stat().st_size for file in Path(scratch).iterdir()) / 2**20
        weights = WeightFolder(name=kind, path=Path(scratch), files=folder_digests(Path(scratch)))
        extractor, inputs, compute = extractor_and_inputs(kind, weights, runtime, options)
        give_back_freed_memory()
        before = resident_mib()
        extractor.network  # noqa: B018  (loads it)
        loaded = resident_mib()
        give_back_freed_memory()
        settled = resident_mib()
        compute(extractor, inputs[:1])  # the first pass prepares kernels
        together = seconds(lambda: compute(extractor, inputs))
        alone = seconds(lambda: [compute(extractor, [one]) for one in inputs])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "count": len(inputs),
        "together": together,
        "alone": alone,
        "weights": size,
        "loaded": loaded - before,
        "settled": settled - before,
        "peak": peak,
        "device": str(runtime.torch_device()),
        "threads": torch.get_num_threads(),
    }


def in_own_process(kind: str, arguments: Sequence[str]) -> dict[str, Any]:
    command = [sys.executable, __file__, *arguments, "--only", kind]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def compare_wirings(file: Path, folder: Path) -> None:
    import cv2
    import torch

    from redub.features.models.emonet.extractor import load_network
    from redub.features.models.emonet.network import Wiring, misfit
    from redub.features.models.face_input import on_device

    faces = []
    for path in sorted(folder.iterdir())[:64]:
        image = cv2.imread(str(path))
        if image is not None:
            rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
            faces.append(cv2.resize(rgb, (256, 256), interpolation=cv2.INTER_AREA))
    if not faces:
        raise SystemExit(f"{folder} holds no image that OpenCV reads")
    weights = WeightFolder(name="emonet", path=file.parent, files={file.name: "not recorded"})
    device = Runtime().torch_device()
    seen = on_device(np.stack(faces), device).permute(0, 3, 1, 2)
    off = {}
    for parts in itertools.product(("max", "average"), ("passed", "own"), ("hourglasses", "all")):
        network = load_network(weights, Wiring(*parts), device)
        off[parts] = misfit(network, seen)
        del network
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    print(
        f"{len(faces)} faces; the misfit of the alignment network depends on the pooling alone, "
        "that of the head also on tap and mask"
    )
    for parts, found in sorted(off.items(), key=lambda item: item[1]):
        wiring = f"pooling {parts[0]}, tap {parts[1]}, mask {parts[2]}"
        print(f"{found.alignment:10.3f} {found.head:10.3f}  {wiring}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--clips", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--only", choices=NETWORKS, help=argparse.SUPPRESS)
    parser.add_argument("--emonet", type=Path)
    parser.add_argument("--faces", type=Path)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(options.only, options)))
        return
    if options.emonet or options.faces:
        if not (options.emonet and options.faces):
            parser.error("--emonet and --faces belong together")
        compare_wirings(options.emonet, options.faces)
        return
    for kind in NETWORKS:
        found = in_own_process(kind, sys.argv[1:])
        unit = "clips" if kind == "mae_dfer" else "frames"
        print(
            f"{kind:9} {found['count']:3} {unit}, {found['device']}, {found['threads']} threads: "
            f"together {found['together']:.2f} s, one by one {found['alone']:.2f} s, "
            f"ratio {found['alone'] / found['together']:.2f}"
        )
        print(
            f"{'':9} weights {found['weights']:.0f} MiB, loading added {found['loaded']:.0f} MiB, "
            f"{found['settled']:.0f} of it in use; peak of the process {found['peak']:.0f} MiB"
        )


if __name__ == "__main__":
    main()
