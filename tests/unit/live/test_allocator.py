"""A reader's threads share two arenas of the allocator."""

import platform
import subprocess
import sys

import pytest

THREADS = """
import ctypes, sys, threading
from raymon.live.allocator import limit_arenas
if sys.argv[1] == "limited":
    assert limit_arenas()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
libc.malloc_info.argtypes = (ctypes.c_int, ctypes.c_void_p)
libc.fclose.argtypes = (ctypes.c_void_p,)
all_alive = threading.Barrier(9)
def work():
    kept = bytes(100_000)
    all_alive.wait()
    all_alive.wait()
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
all_alive.wait()
file = libc.fopen(b"/dev/stdout", b"w")
libc.malloc_info(0, file)
libc.fclose(file)
all_alive.wait()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has arenas")
def test_threads_share_two_arenas(monkeypatch):
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    arenas = {}
    for case in ("limited", "free"):
        command = [sys.executable, "-c", THREADS, case]
        report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        arenas[case] = report.count("<heap nr=")
    assert arenas["limited"] <= 2 < arenas["free"]
