"""The result of a profile as the terminal shows it."""

from pathlib import Path

from raymon.format import duration, one_line, share
from raymon.html.words import headline
from raymon.profile.report import last_sentence
from raymon.profile.result import ProcessProfile, ProfileResult


def print_result(result: ProfileResult, folder: Path) -> None:
    """Print verdict, iteration, functions, notes and files of a profile."""
    print(f"\n{headline(result.verdict.state)}: {result.verdict.sentence}")
    if result.verdict.advice:
        print(f"What to do: {result.verdict.advice}")
    if result.run.phase_ratio:
        parts = sorted(result.run.phase_ratio.items(), key=lambda item: -item[1])
        print("iteration:  " + ", ".join(f"{phase} {share(ratio)}" for phase, ratio in parts if ratio >= 0.005))
    if result.last is not None:
        print(one_line(last_sentence(result)))
    if result.comparison is not None:
        compared = result.comparison
        print(
            f"Functions in which worker {one_line(compared.slow)} spends more time than worker "
            f"{one_line(compared.typical)}, per 1,000 environment steps:"
        )
        for item in compared.differences[:4]:
            place = one_line(str(item.place))
            print(f"  {duration(item.seconds):>8} against {duration(item.baseline):>8}  {place}")
    stuck = {item.worker for item in result.verdict.workers if item.state == "stalled"}
    for process in result.processes:
        print_process(process, process.name.removeprefix("worker ") in stuck)
    for note in result.notes:
        print(f"note: {one_line(note)}")
    print(f"\nreport:     {folder / 'report.html'}")
    print(f"timeline:   {folder / 'timeline.json'} (open it at ui.perfetto.dev)")
    print(f"stacks:     {folder}/stacks-*.txt (open them at speedscope.app)")


def print_process(process: ProcessProfile, stuck: bool) -> None:
    """Print where a process spends its time, and the frames of one that is stuck."""
    if process.problem:
        print(one_line(f"{process.name} (pid {process.pid}): {process.problem}"))
        return
    waits = process.waiting_ratio()
    parts = [f"{share(ratio)} {place}" for place, ratio in process.busiest()[:3]]
    parts += [f"waits for Ray {share(waits)}"] if waits >= 0.005 else []
    print(one_line(f"{process.name}: {', '.join(parts) or 'no sample'}"))
    if stuck:
        for thread, frames in process.standing[:4]:
            print(f"  stalled; {one_line(thread)} is in")
            for frame in frames[:8]:
                print(f"      {one_line(frame)}")
