"""Details of an error or a lost worker as plain data: bounded, ready for JSON."""

import re
import time
from typing import Any, Final

from raymon.monitor.frames import Frame, frames_of_error
from raymon.monitor.reasons import loss_reason

MOST_LOSSES: Final = 10
_MOST_TEXT: Final = 600
_MOST_ERROR_FRAMES: Final = 8
_MOST_CAUSES: Final = 4
_FRAME: Final = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>\S+)', re.MULTILINE)
_EXIT_TYPE: Final = re.compile(r"exit type: (\w+)")
_EXIT_DETAIL: Final = re.compile(r"exit detail: (.+?)(?: Some common causes|$)", re.DOTALL)
_EXIT_CODE: Final = re.compile(r"exit(?:ed with)? code[:=]? ?(-?\d+)", re.IGNORECASE)
_REMOTE_PID: Final = re.compile(r"\(pid=(\d+), ")
_LOST_PID: Final = re.compile(r"^\s*pid: (\d+)", re.MULTILINE)
_SIGNAL: Final = re.compile(r"\b(SIG(?:KILL|SEGV|TERM|ABRT|BUS|ILL|FPE|INT|HUP))\b")


def describe_failure(error: BaseException) -> dict[str, Any]:
    """Return class, message and innermost frames of an exception that ended a rollout."""
    return {
        "at": time.time(),
        "exception": type(error).__name__,
        "message": str(error)[:_MOST_TEXT],
        "frames": frames_of_error(error)[-_MOST_ERROR_FRAMES:],
    }


def describe_end(error: BaseException) -> dict[str, Any]:
    """Return what is known of the exception that ends a process.

    An exception that Ray brought from another process holds its own cause, that process's id and, in its text, the
    frames there: `pid` is None for an exception of this process. `lost_pid` is the process that died, where Ray says
    that an actor did. `causes` are the classes of the exceptions that it followed from, the nearest first.
    """
    inner = getattr(error, "cause", None)
    remote = isinstance(inner, BaseException)
    cause = inner if isinstance(inner, BaseException) else error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    matches = _FRAME.finditer(str(error)) if remote else ()
    pid = _REMOTE_PID.search(str(error)) if remote else None
    lost = _LOST_PID.search(str(error)) if type(error).__name__.endswith("DiedError") else None
    return {
        "at": time.time(),
        "exception": type(cause).__name__,
        "message": lines[-1][:_MOST_TEXT] if lines else "",
        "frames": frames_of_error(error)[-_MOST_ERROR_FRAMES:],
        "causes": _causes(error),
        "pid": int(pid[1]) if pid else None,
        "lost_pid": int(lost[1]) if lost else None,
        "remote_frames": [Frame(f["function"], f["file"], int(f["line"])) for f in matches][-_MOST_ERROR_FRAMES:],
    }


def _causes(error: BaseException) -> list[str]:
    """Return the classes of the exceptions that a traceback would show before an exception."""
    causes: list[str] = []
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    while before is not None and len(causes) < _MOST_CAUSES:
        causes.append(type(before).__name__)
        before = before.__cause__ or (None if before.__suppress_context__ else before.__context__)
    return causes


def describe_loss(worker: str, cause: str | BaseException) -> dict[str, Any]:
    """Return what an exception of `ray.get`, or a reason, says about a worker that was lost.

    Ray puts a process's exit type, detail and signal, and the traceback of the environment's own exception, into the
    text of its exceptions only. Signals outside the detail are only Ray's guesses at why a process vanished.
    """
    text = str(cause)
    detail = _first(_EXIT_DETAIL, text)
    inner = getattr(cause, "cause", None)
    error = inner if isinstance(inner, BaseException) else cause
    frames = [Frame(match["function"], match["file"], int(match["line"])) for match in _FRAME.finditer(text)]
    code = _first(_EXIT_CODE, text)
    return {
        "at": time.time(),
        "worker": worker,
        "reason": loss_reason(cause),
        "exception": "" if isinstance(error, str) else type(error).__name__,
        "message": str(error)[-_MOST_TEXT:].strip(),
        "exit_type": _first(_EXIT_TYPE, text),
        "exit_detail": detail[:_MOST_TEXT],
        "exit_code": int(code) if code else None,
        "signal": _first(_SIGNAL, detail),
        "frames": frames[-_MOST_ERROR_FRAMES:],
    }


def _first(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match[1].strip() if match else ""
