"""How long the command line takes to answer, and that `import redub` brings no torch.

python benchmarks/start_up.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

RUNS = 9


def timed(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return 1000 * (time.perf_counter() - began)


def main() -> None:
    python = [sys.executable, "-c", "pass"]
    rows = {
        "python -c pass": python,
        "import redub": [sys.executable, "-c", "import redub"],
        "redub --help": [sys.executable, "-m", "redub.cli", "--help"],
        "redub dub --help": [sys.executable, "-m", "redub.cli", "dub", "--help"],
    }
    print(f"{'command':20} {'median ms':>10} {'max ms':>8}")
    for name, command in rows.items():
        timed(command)
        times = [timed(command) for _ in range(RUNS)]
        print(f"{name:20} {statistics.median(times):10.0f} {max(times):8.0f}")
    code = "import redub, sys; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    print(f"import redub imports torch: {found.stdout.strip()}")


if __name__ == "__main__":
    main()
