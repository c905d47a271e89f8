"""Synthetic nodes served by a process of their own, so that what is measured shares no interpreter with them."""

import contextlib
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from synthetic import Node, serve, write_discovery

from benchmarks.watched import TroubleError, await_result

EXPORT_SECONDS: Final = 10.0
"""Ray's default. Rendering the pages of ten thousand workers takes seconds."""
START_SECONDS: Final = 300.0


@contextlib.contextmanager
def serving(nodes: Sequence[Node], discovery: Path) -> Iterator[None]:
    """Serve the nodes and write their discovery file; end the process afterwards.

    Raises:
        TroubleError: They are not served in time.
    """
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(nodes, discovery), daemon=True)
    server.start()
    try:
        await_result(lambda: discovery.exists() or not server.is_alive(), START_SECONDS, "the synthetic nodes answer")
        if not server.is_alive():
            raise TroubleError(f"the synthetic nodes ended with exit code {server.exitcode}; see above")
        yield
    finally:
        server.kill()
        server.join()


def _serve(nodes: Sequence[Node], discovery: Path) -> None:
    with serve(nodes, export_seconds=EXPORT_SECONDS) as targets:
        write_discovery(discovery, targets)
        while True:
            time.sleep(3600.0)
