"""The simulator: nothing is lost, hangs or crashes, whatever happens; and it would be noticed if it did."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys

import pytest

from uamqp.testing import simulate
from uamqp.testing.command import main
from uamqp.testing.simulation import RecoveryMode, Simulation
from uamqp.testing.workload import Worker

#: Seeds that run together, so that a failure names a few.
_BATCH = 25


@pytest.mark.parametrize("first", range(0, 300, _BATCH))
def test_no_seed_violates_an_invariant(first: int) -> None:
    failed = [result.report() for seed in range(first, first + _BATCH) if (result := simulate(seed)).violations]
    assert not failed, "\n\n".join(failed)


@pytest.mark.parametrize("mode", ["on", "resend"])
@pytest.mark.parametrize("first", range(0, 100, _BATCH))
def test_connections_that_come_back_by_themselves_violate_none(mode: RecoveryMode, first: int) -> None:
    results = [simulate(seed, recovery=mode) for seed in range(first, first + _BATCH)]
    failed = [result.report() for result in results if result.violations]
    assert not failed, "\n\n".join(failed)


def test_a_seed_does_the_same_again() -> None:
    first, second = simulate(5), simulate(5)
    assert first.digest == second.digest
    assert first.trace == second.trace
    assert simulate(6).digest != first.digest
    assert simulate(5, recovery="on").digest == simulate(5, recovery="on").digest


def test_a_seed_does_the_same_in_another_process_with_other_hashes() -> None:
    code = "from uamqp.testing import simulate; print([simulate(seed).digest for seed in range(8)])"
    answers = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hashes},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hashes in ("1", "2")
    }
    assert answers == {f"{[simulate(seed).digest for seed in range(8)]}\n"}


def test_all_sorts_of_things_happen() -> None:
    faults: set[str] = set()
    rules: set[str] = set()
    for seed in range(120):
        result = simulate(seed)
        faults.update(result.faults)
        rules.update(result.checks)
    assert faults >= {"fin", "rst", "blackhole", "mute", "hold", "detach", "end", "down", "restart", "ignored", "jump"}
    assert rules >= {"tokens are put in time", "tokens are renewed in time"}
    assert len(rules) >= 26


def test_a_broker_without_a_store_loses_messages_and_that_is_noticed() -> None:
    """The control: a ledger that saw no loss here would see none anywhere."""
    lost = 0
    for seed in range(80):
        result = simulate(seed, durable=False, faults=8)
        lost += any(violation.rule == "no message is lost" for violation in result.violations)
        assert not simulate(seed, faults=0).violations
    assert lost >= 3


def test_options_for_all_connections() -> None:
    assert not simulate(3, connect_options={"max_frame_size": 1024}).violations


def test_a_report_says_what_happened_when() -> None:
    seed = next(seed for seed in range(1000) if simulate(seed, durable=False).violations)
    report = simulate(seed, durable=False).report(5)
    assert report.startswith(f"seed {seed}: ")
    assert "no message is lost" in report
    assert len(report.splitlines()) > 6


class _Careless(Worker):
    """A program that has what no program should have."""

    def __init__(self, world: Simulation, fault: str) -> None:
        super().__init__(world, "careless", world.random)
        self._fault = fault

    async def run(self) -> None:
        if self._fault == "hang":
            await asyncio.get_running_loop().create_future()
        elif self._fault == "raise":
            raise KeyError("x")
        elif self._fault == "leave":
            asyncio.get_running_loop().create_task(asyncio.sleep(1e9), name="left over")
        elif self._fault == "behind":
            asyncio.get_running_loop().call_soon(lambda: 1 // 0)
        else:
            while True:
                await asyncio.sleep(0)


class _Careful(Simulation):
    def __init__(self, fault: str) -> None:
        super().__init__(1, durable=True, faults=0, connect_options={})
        self._fault = fault

    def workers(self) -> list[Worker]:
        return [_Careless(self, self._fault)]


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        ("hang", "nothing hangs"),
        ("circle", "nothing hangs"),
        ("raise", "errors are typed"),
        ("leave", "no tasks are left"),
        ("behind", "nothing fails behind the back"),
    ],
)
def test_what_a_program_must_not_do_is_noticed(fault: str, rule: str) -> None:
    assert rule in {violation.rule for violation in _Careful(fault).run().violations}


# -- the command ------------------------------------------------------------------------------------------------


def test_the_command_says_what_came_of_the_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--runs", "30", "--seed", "7"]) == 0
    printed = capsys.readouterr().out
    assert "30 runs in" in printed
    assert "failures: 0" in printed
    assert "no message is lost" in printed


def test_the_command_shows_one_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--trace", "--seed", "7"]) == 0
    assert "connected" in capsys.readouterr().out


def test_the_command_shares_the_work_between_processes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--runs", "50", "--processes", "2"]) == 0
    assert "failures: 0" in capsys.readouterr().out


def test_the_command_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "uamqp.testing", "simulate", "--runs", "50", "--processes", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (0, "")
    assert "50 runs in" in done.stdout


def test_the_command_fails_where_a_run_does(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uamqp.testing.command.simulate", lambda seed, **_: simulate(seed, durable=False, faults=8))
    assert main(["simulate", "--runs", "60"]) == 1
    printed = capsys.readouterr().out
    assert "no message is lost" in printed
    assert "violations" in printed


def test_a_task_that_fails_where_nobody_can_reach_it_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def forgotten(made: list[object]) -> None:
        made.append(asyncio.current_task())
        raise RuntimeError("forgotten")

    def start(simulation: Simulation) -> list[Worker]:
        # It holds itself, so that only a collection finds it.
        simulation._loop.create_task(forgotten([]))
        return []

    monkeypatch.setattr(Simulation, "workers", start)
    gc.disable()
    try:
        result = simulate(1)
    finally:
        gc.enable()
    assert any("forgotten" in str(violation) for violation in result.violations)


def test_a_run_leaves_nothing_behind() -> None:
    """Else a million of them would need more memory than there is."""
    counts = []
    for seed in range(1, 9):
        simulate(seed)
        counts.append(len(gc.get_objects()))
    # The first ones leave what modules keep.
    assert counts[-1] < counts[1] + 200
