"""The end of a driver is written down, also if its monitor was closed or collected before."""

import gc
import os
from pathlib import Path

import pytest

from raymon import DriverMonitor
from raymon.monitor import process_evidence
from raymon.monitor.flusher import flusher
from raymon.monitor.standstill import LOGS, Standstills


def test_end_of_a_driver_whose_monitor_was_collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / LOGS).mkdir()
    standstills = Standstills()
    monkeypatch.setattr(flusher, "_standstills", standstills)

    def main() -> None:
        driver = DriverMonitor("r")
        driver.state("finished")
        standstills.look([driver], tmp_path)

    main()
    gc.collect()
    standstills.stop([])
    evidence = process_evidence.read(tmp_path, os.getpid())
    assert evidence is not None
    assert evidence.end is not None
    assert (evidence.end["exception"], evidence.end["state"]) == ("", "finished")
