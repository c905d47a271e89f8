"""The black box of `raymon train`: a child process of the run that records it and collects its incidents.

    python -m raymon.incident.recorder_process DIRECTORY --run RUN (--metrics-url URL ... | --dashboard-url URL)

DIRECTORY is the recording, inside the directory of the run. Ends soon after its parent. It collects every three
seconds, since it has no viewer.
"""

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from raymon.incident.incident_thread import BackgroundWatch
from raymon.incident.journal import Journal
from raymon.live import targets
from raymon.live.allocator import limit_arenas
from raymon.live.collector import Collector

PARENT_CHECK_SECONDS: Final = 0.5
LINGER_SECONDS: Final = 3.0
"""After the end of the parent: the end of the run is what a recording is for."""


def main(arguments: Sequence[str]) -> int:
    """Record until the parent has ended or a signal arrives."""
    limit_arenas()
    logging.basicConfig(level=logging.ERROR)
    parent = os.getppid()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--run", required=True)
    targets.add_options(parser)
    args = parser.parse_args(arguments)
    root = args.directory.parent.parent
    journal = Journal(args.directory, root, args.run)
    endpoints = targets.choose(args.metrics_url, args.discovery_file, args.dashboard_url)
    collector = Collector(endpoints, on_round=journal.add)
    watch = BackgroundWatch(collector.latest, root, args.run, journal, args.dashboard_url)
    collector.start()
    watch.start()
    try:
        while os.getppid() == parent and not stop.wait(PARENT_CHECK_SECONDS):
            pass
        if os.getppid() != parent:
            stop.wait(LINGER_SECONDS)
    finally:
        collector.stop()
        collector.collect()  # the last numbers of the run, which say how it ended
        watch.close()
        journal.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
