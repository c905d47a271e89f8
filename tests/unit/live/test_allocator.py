"""A reader's threads share two arenas of the allocator, which hold no large blocks."""

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

LARGE = """
import ctypes, sys
from raymon.live.allocator import limit_arenas
if sys.argv[1] == "limited":
    assert limit_arenas()
class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena b c d mapped e f g h i".split()]
mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = Info
block = bytes(4_000_000)
del block
before = mallinfo().mapped
block = bytes(1_000_000)
print(mallinfo().mapped - before)
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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc moves large blocks into the heap")
def test_large_block_goes_back_to_the_kernel_also_after_a_larger_one(monkeypatch):
    for name in ("MALLOC_ARENA_MAX", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"):
        monkeypatch.delenv(name, raising=False)
    mapped = {}
    for case in ("limited", "free"):
        command = [sys.executable, "-c", LARGE, case]
        mapped[case] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert mapped["free"] == 0
    assert mapped["limited"] >= 1_000_000
