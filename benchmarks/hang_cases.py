"""Ways in which a foreign trainer hangs: one function each; the line that hangs has the mark `# hangs here`.

A worker calls its function in the middle of a step of its environment, the driver in the middle of learning.
"""

import asyncio
import ctypes
import fcntl
import gc
import importlib
import inspect
import multiprocessing
import os
import queue
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import ray

MARK: Final = "# hangs here"
Function = Callable[["Place"], None]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a case runs: a folder of its own, and the other worker of a deadlock."""

    folder: Path
    peer: Any = None


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of hang.

    Attributes:
        name: In the table.
        function: What hangs; None for a process that is stopped or killed from outside.
        culprits: Names of the processes any of which is right.
        where: Which part of the trainer calls the function: `worker`, `pair`, `async`, `driver`, `stop`, `mailbox`,
            `rllib` or `rllib-stop`.
        frame: What the shown frame must contain; by default the file and line of the mark. Where the line changes while
            it hangs, the user's function.
        busy: Whether the hang uses a whole core, so that it must not run next to other cases.
    """

    name: str
    function: Function | None
    culprits: tuple[str, ...] = ("worker 1",)
    where: str = "worker"
    frame: str = ""
    busy: bool = False

    def expected(self) -> str:
        """Return what the shown frame must contain."""
        if self.frame or self.function is None:
            return self.frame
        lines, first = inspect.getsourcelines(self.function)
        line = next(number for number, text in enumerate(lines, first) if MARK in text)
        return f"({Path(__file__).name}:{line})"


def socket_recv(_: Place) -> None:
    """Wait for a simulator that does not answer."""
    silent, _other = socket.socketpair()
    silent.recv(1)  # hangs here


def http_request(_: Place) -> None:
    """Ask a server that accepts and never answers, without a time-out."""
    server = socket.create_server(("127.0.0.1", 0))
    urllib.request.urlopen(f"http://127.0.0.1:{server.getsockname()[1]}/reward")  # hangs here


def lock(_: Place) -> None:
    """Take a lock that another thread keeps."""
    taken = threading.Lock()
    threading.Thread(target=taken.acquire, daemon=True).start()
    time.sleep(0.1)
    taken.acquire()  # hangs here


def condition(_: Place) -> None:
    """Wait for a condition that nobody notifies."""
    ready = threading.Condition()
    with ready:
        ready.wait()  # hangs here


def semaphore(_: Place) -> None:
    """Take a semaphore between processes that is never released."""
    multiprocessing.Semaphore(0).acquire()  # hangs here


def barrier(_: Place) -> None:
    """Wait at a barrier that one of the parties never reaches."""
    threading.Barrier(2).wait()  # hangs here


def empty_queue(_: Place) -> None:
    """Read a queue that nobody fills."""
    queue.Queue().get()  # hangs here


def full_queue(_: Place) -> None:
    """Write to a queue that nobody reads."""
    results: queue.Queue[int] = queue.Queue(maxsize=1)
    for number in range(2):
        results.put(number)  # hangs here


def thread_join(_: Place) -> None:
    """Join a thread that does not end."""
    thread = threading.Thread(target=threading.Event().wait, daemon=True)
    thread.start()
    thread.join()  # hangs here


def future(_: Place) -> None:
    """Wait for the result of a thread in a pool that does not end."""
    pool = ThreadPoolExecutor(1)
    pool.submit(threading.Event().wait).result()  # hangs here


def time_sleep(_: Place) -> None:
    """Sleep where a poll was meant."""
    time.sleep(1e6)  # hangs here


def native_sleep(_: Place) -> None:
    """Wait in native code that has released the interpreter's lock."""
    ctypes.CDLL(None).sleep(1_000_000)  # hangs here


def native_sleep_with_lock(_: Place) -> None:
    """Wait in native code that keeps the interpreter's lock."""
    ctypes.PyDLL(None).sleep(1_000_000)  # hangs here


def regular_expression(_: Place) -> None:
    """Match a regular expression that backtracks for ever; it keeps the interpreter's lock."""
    re.fullmatch(r"(a+)+", "a" * 60 + "b")  # hangs here


def endless_loop(_: Place) -> None:
    """Look for a free cell in a full grid."""
    cell = 0
    while cell >= 0:
        cell = (cell + 1) % 64  # hangs here


def garbage_collection(_: Place) -> None:
    """Collect garbage again and again on a large heap."""
    heap = [[number] for number in range(1_000_000)]
    while heap:
        gc.collect()  # hangs here


def child_process(_: Place) -> None:
    """Wait for a simulator in a child process that does not end."""
    subprocess.run(["sleep", "1000000"], check=False)  # hangs here


def full_pipe(_: Place) -> None:
    """Wait for a child process that writes into a pipe which nobody reads."""
    child = subprocess.Popen([sys.executable, "-c", "print('x' * 10_000_000)"], stdout=subprocess.PIPE)
    child.wait()  # hangs here


def blocked_disk(place: Place) -> None:
    """Read a file that never comes, as on a dead network drive."""
    path = place.folder / "replay-buffer"
    os.mkfifo(path)
    path.open("rb").read()  # hangs here


def file_lock(place: Place) -> None:
    """Take a lock on a file that another process holds."""
    path = place.folder / "dataset.lock"
    holder = f"import fcntl, time; f = open({str(path)!r}, 'w'); fcntl.flock(f, fcntl.LOCK_EX); time.sleep(1e6)"
    subprocess.Popen([sys.executable, "-c", holder])
    while not path.exists():
        time.sleep(0.1)
    time.sleep(0.3)
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # hangs here


def import_lock(place: Place) -> None:
    """Import a module that another thread is importing and does not finish."""
    (place.folder / "slow_plugin.py").write_text("import time\ntime.sleep(1e6)\n")
    sys.path.insert(0, str(place.folder))
    threading.Thread(target=importlib.import_module, args=("slow_plugin",), daemon=True).start()
    time.sleep(0.5)
    importlib.import_module("slow_plugin")  # hangs here


def event_loop(_: Place) -> None:
    """Wait in an event loop of its own for a future that nobody sets."""

    async def answer() -> None:
        await asyncio.get_running_loop().create_future()  # hangs here

    asyncio.run(answer())


def blocked_loop(_: Place) -> None:
    """Block the event loop of an asyncio actor."""
    time.sleep(1e6)  # hangs here


def get_in_actor(_: Place) -> None:
    """Wait inside an actor for a reward model that does not answer."""

    @ray.remote(num_cpus=0)
    class RewardModel:
        def score(self) -> None:
            threading.Event().wait()

    model = RewardModel.remote()
    ray.get(model.score.remote())  # hangs here


def deadlock(place: Place) -> None:
    """Call the other worker, which calls this one."""
    ray.get(place.peer.sample.remote())  # hangs here


def tracker(_: Place) -> None:
    """Send the losses to a tracker that does not answer."""
    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(server.getsockname())
    client.recv(1)  # hangs here


CASES: Final = (
    Case("socket that nobody answers", socket_recv),
    Case("HTTP request without time-out", http_request),
    Case("lock held by another thread", lock),
    Case("condition that nobody notifies", condition),
    Case("semaphore between processes", semaphore),
    Case("barrier that a party never reaches", barrier),
    Case("queue that nobody fills", empty_queue),
    Case("queue that nobody reads", full_queue),
    Case("thread that is joined and does not end", thread_join),
    Case("future of a thread pool", future),
    Case("time.sleep", time_sleep),
    Case("native sleep, interpreter free", native_sleep),
    Case("native sleep that keeps the interpreter", native_sleep_with_lock),
    Case("regular expression that backtracks", regular_expression, busy=True),
    Case("endless loop in Python", endless_loop, frame="endless_loop", busy=True),
    Case("garbage collection again and again", garbage_collection, frame="garbage_collection", busy=True),
    Case("child process that does not end", child_process),
    Case("pipe of a child process is full", full_pipe),
    Case("blocked disk (FIFO)", blocked_disk),
    Case("lock on a file", file_lock),
    Case("import lock", import_lock),
    Case("event loop, future that nobody sets", event_loop),
    Case("asyncio actor with a blocked loop", blocked_loop, where="async"),
    Case("ray.get inside an actor", get_in_actor, ("worker 1", "actor RewardModel")),
    Case("deadlock of two actors", deadlock, ("worker 1", "worker 2"), where="pair"),
    Case("worker stopped (SIGSTOP)", None, where="stop", frame="foreign_trainer.py"),
    Case("driver waits for a dead actor", None, ("worker 0",), where="mailbox", frame="foreign_trainer.py"),
    Case("driver waits for a tracker", tracker, ("driver",), where="driver"),
    Case("driver in native code", native_sleep_with_lock, ("driver",), where="driver"),
    Case("RLlib: socket in an environment", socket_recv, where="rllib"),
    Case("RLlib: runner stopped (SIGSTOP)", None, where="rllib-stop", frame="foreign_rllib.py"),
)
