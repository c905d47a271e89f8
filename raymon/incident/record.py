"""Record a run without showing it: the child process of a run that serves no status page.

    python -m raymon.incident.record DIRECTORY (--metrics-url URL ... | --dashboard-url URL)

Ends when its parent does. It collects every three seconds, since nobody looks.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from raymon.incident.writer import RecordingWriter
from raymon.live import targets
from raymon.live.collector import Collector

PARENT_CHECK_SECONDS: Final = 0.5


def main(arguments: Sequence[str]) -> int:
    """Record until the parent ends or a signal arrives."""
    parent = os.getppid()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    targets.add_options(parser)
    args = parser.parse_args(arguments)
    recorder = RecordingWriter(args.directory)
    endpoints = targets.choose(args.metrics_url, args.discovery_file, args.dashboard_url)
    collector = Collector(endpoints, on_round=recorder.add)
    collector.start()
    try:
        while os.getppid() == parent:
            time.sleep(PARENT_CHECK_SECONDS)
    except KeyboardInterrupt:
        return 0
    finally:
        collector.stop()
        collector.collect()  # the last numbers of the run, which say how it ended
        recorder.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
