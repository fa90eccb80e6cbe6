"""What the tests cost: CPU seconds of each test file and of each shared fixture.

Wall time depends on what else the machine does; CPU time depends on it much less. So the table is
in CPU seconds, user and system, of a worker and of every process that its tests start.
"""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

ROWS = 25
"""So many fixtures at most are printed; of files, all."""

LEAST_S = 1.0
"""Fixtures that cost less are not printed."""

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def _descendants(process: int) -> Iterator[int]:
    """The running processes that a process started, and those that these started (Linux)."""
    try:
        threads = os.listdir(f"/proc/{process}/task")
    except OSError:  # it ended, or this is no Linux
        return
    for thread in threads:
        try:
            children = Path(f"/proc/{process}/task/{thread}/children").read_text()
        except OSError:
            continue
        for child in map(int, children.split()):
            yield child
            yield from _descendants(child)


def _seconds_of(process: int) -> float:
    """CPU seconds of a running process and of its children that ended; 0 if it ended, too."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS_A_SECOND  # utime, stime, cutime, cstime


def _used(who: int) -> float:
    figures = resource.getrusage(who)
    return figures.ru_utime + figures.ru_stime


def cpu_seconds() -> float:
    """CPU seconds of this process until now, with those of its running and ended children."""
    running = sum(map(_seconds_of, _descendants(os.getpid())))
    return _used(resource.RUSAGE_SELF) + _used(resource.RUSAGE_CHILDREN) + running


class Costs:
    """Measures in the process that runs a test; adds up and prints where the reports arrive."""

    def __init__(self) -> None:
        self._fixtures_of_test: list[tuple[str, float]] = []
        self._start = 0.0
        self.files: dict[str, float] = {}
        self.tests: dict[str, int] = {}
        self.fixtures: dict[str, float] = {}
        self.workers: list[float] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef, request):
        start = cpu_seconds()
        try:
            return (yield)
        finally:
            if fixturedef.scope != "function":
                name = f"{fixturedef.baseid or '.'}::{fixturedef.argname}"
                self._fixtures_of_test.append((name, cpu_seconds() - start))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item):
        self._fixtures_of_test.clear()
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item, call):
        report = yield
        now = cpu_seconds()
        report.cpu_s, self._start = now - self._start, now
        report.fixtures_cpu_s = list(self._fixtures_of_test) if call.when == "setup" else []
        return report

    def pytest_runtest_logstart(self, nodeid, location):
        self._start = cpu_seconds()

    def pytest_runtest_logreport(self, report):
        file = report.nodeid.partition("::")[0]
        self.files[file] = self.files.get(file, 0.0) + getattr(report, "cpu_s", 0.0)
        self.tests[file] = self.tests.get(file, 0) + (report.when == "call")
        for name, seconds in getattr(report, "fixtures_cpu_s", []):
            self.fixtures[name] = self.fixtures.get(name, 0.0) + seconds

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session):
        if hasattr(session.config, "workeroutput"):  # a worker of pytest-xdist
            session.config.workeroutput["cpu_s"] = cpu_seconds()

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node, error):
        self.workers.append(getattr(node, "workeroutput", {}).get("cpu_s", 0.0))

    def pytest_terminal_summary(self, terminalreporter):
        say = terminalreporter.write_line
        terminalreporter.section("CPU seconds of each test file")
        for file, seconds in sorted(self.files.items(), key=lambda row: -row[1]):
            say(f"{seconds:8.1f} s  {self.tests[file]:5d} tests  {file}")
        total = sum(self.files.values())
        # Workers say it themselves: what they started may outlive them and have no parent then.
        alone = not self.workers
        whole = cpu_seconds() if alone else _used(resource.RUSAGE_SELF) + sum(self.workers)
        say(f"{whole - total:8.1f} s  start, collection and the rest")
        say(f"{whole:8.1f} s  {sum(self.tests.values()):5d} tests  {len(self.files)} files in all")
        costly = sorted(self.fixtures.items(), key=lambda row: -row[1])
        if costly and costly[0][1] >= LEAST_S:
            terminalreporter.section("CPU seconds of shared fixtures (counted above, too)")
            for name, seconds in costly[:ROWS]:
                if seconds >= LEAST_S:
                    say(f"{seconds:8.1f} s  {name}")


def pytest_addoption(parser):
    parser.addoption(
        "--costs",
        action="store_true",
        help="print the CPU seconds of each test file and of shared fixtures at the end",
    )


def pytest_configure(config):
    if config.getoption("--costs"):
        config.pluginmanager.register(Costs(), "costs")
