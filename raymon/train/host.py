"""One run with its surroundings: Ray, status page, records and terminal, started and ended in order."""

import contextlib
import dataclasses
import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

from rich.console import Console

from raymon.cluster.ports import pick_port
from raymon.cluster.start import Cluster, check_ray, join_running, start_local
from raymon.envs import make_vector
from raymon.errors import UserError
from raymon.incident import FOLDER
from raymon.ppo.policy import ModelSpec
from raymon.ppo.spaces import action_spec
from raymon.train import checkpoint
from raymon.train.checkpoint import Checkpoint, CheckpointError
from raymon.train.config import Config, ConfigError
from raymon.train.console import Screen, Terminal
from raymon.train.run_directory import RunDirectory, new_name
from raymon.train.stop import Stop

if TYPE_CHECKING:
    from raymon.stack.running import Stack

USUAL_PAGE_PORT: Final = 8501
_PAGE_END_SECONDS: Final = 5.0
_DISK_ERRORS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)


class RecordsError(UserError):
    """The records of a run cannot be written any more."""

    exit_code = 1


class Stopwatch:
    """The parts of the start-up."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = {"Python and imports": seconds_since_process_start()}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Book the time since the last call under a name."""
        now = time.perf_counter()
        self.parts[name] = now - self._last
        self._last = now

    def sentence(self) -> str:
        """Return the sum and the parts."""
        parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.parts.items())
        return f"start-up {sum(self.parts.values()):.1f} s: {parts}"


def seconds_since_process_start() -> float:
    """Return the age of this process from /proc; 0 where there is none."""
    try:
        with open("/proc/self/stat", encoding="ascii") as file:  # noqa: PTH123  # a kernel file, read once
            ticks = int(file.read().rsplit(")", 1)[1].split()[19])
    except (OSError, ValueError, IndexError):
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def model_for(config: Config) -> ModelSpec:
    """Return the networks' shape for an environment, which is made once to ask for its spaces.

    Raises:
        EnvError: The environment cannot be made.
        SpaceError: Its actions are of a kind that PPO cannot choose.
    """
    vector = make_vector(config.env, 1, seed=config.seed, worker=0, step_threads=0)
    try:
        size = int(vector.single_observation_space.shape[0])
        actions = action_spec(vector.single_action_space, config.bounds)
    finally:
        vector.close()
    return ModelSpec(size, actions, config.hidden, config.activation, config.deviation, config.initial_log_std)


def run(config: Config) -> int:
    """Train as configured; return the exit code. Raises `ConfigError` and `CheckpointError` before anything runs."""
    watch = Stopwatch()
    stop = Stop()
    stop.install()
    console = Console(file=cast(TextIO, Terminal(sys.stdout)), highlight=False)
    try:
        return _Session(config, stop, console, watch).run()
    except KeyboardInterrupt:
        return stop.exit_code()


class _Session:
    def __init__(self, config: Config, stop: Stop, console: Console, watch: Stopwatch) -> None:
        self._stop, self._console, self._watch = stop, console, watch
        self._resumed: Checkpoint | None = None
        if config.resume is not None:
            self._resumed = checkpoint.load(config.resume)
            folder = checkpoint.find(config.resume).parent
            config = dataclasses.replace(config, runs=folder.parent, name=folder.name)
        self._config = config if config.name else dataclasses.replace(config, name=new_name(config.env))
        self._page_port = 0
        self._page: subprocess.Popen[bytes] | None = None

    def run(self) -> int:
        config = self._config
        if config.workers:
            check_ray()
        if config.page and config.workers:
            self._page_port = pick_port(config.page_port, USUAL_PAGE_PORT, "the status page", "--page-port")
        loading = threading.Thread(target=_load_torch, daemon=True)
        loading.start()  # while Ray starts, which is mostly waiting
        model = model_for(config)
        self._watch.lap("environment")
        self._check_resumed(model)
        with contextlib.ExitStack() as stack:
            beside = self._start_stack(stack) if config.stack else None  # before Ray, which reads where they are
            place = stack.enter_context(self._ray()) if config.workers else None
            self._watch.lap("Ray")
            if beside is not None and place is not None and place.local:
                stack.callback(self._await_last_word, beside)
            loading.join()
            self._watch.lap("torch")
            directory = RunDirectory(config, self._resumed.counters if self._resumed is not None else None)
            if place is not None:
                self._announce(place, directory)
                if beside is not None:
                    self._announce_stack(beside, place)
            return self._train(stack, model, directory, place)

    def _check_resumed(self, model: ModelSpec) -> None:
        saved = self._resumed
        if saved is None:
            return
        if saved.model != model:
            raise CheckpointError(
                f"the checkpoint's model {saved.model} does not fit the options, which make {model}; resume with the "
                "environment and network it was trained with"
            )
        for option in ("normalize_observations", "normalize_rewards"):
            if saved.config[option] != getattr(self._config, option):
                raise CheckpointError(
                    f"the run was trained with {option}: {saved.config[option]}, which cannot change on the way; "
                    "resume it with the same, or begin a new run"
                )
        if saved.counters["env_steps"] >= self._config.total_env_steps:
            raise ConfigError(
                f"the run has trained {saved.counters['env_steps']:,} of {self._config.total_env_steps:,} environment "
                "steps already; give a larger --total-env-steps"
            )

    @contextlib.contextmanager
    def _ray(self) -> Iterator[Cluster]:
        import ray

        try:
            place = start_ray(self._config)
            self._stop.install()  # Ray has put handlers of its own there
            yield place
        finally:
            ray.shutdown()

    def _announce(self, place: Cluster, directory: RunDirectory) -> None:
        say = self._console.print
        say(f"run            {self._config.name}", f"({directory.path})")
        if self._page_port:
            say(f"status page    http://127.0.0.1:{self._page_port}")
        if place.dashboard_url:
            say(f"Ray Dashboard  {place.dashboard_url}")
        say(f"metrics        {'  '.join(place.metrics_urls)}")

    def _start_stack(self, stack: contextlib.ExitStack) -> "Stack":
        from raymon.stack.training import start_before_ray

        beside = stack.enter_context(start_before_ray(self._config.ray_temp_dir))
        os.environ.update(beside.environment)
        return beside

    def _await_last_word(self, beside: "Stack") -> None:
        from raymon.stack.training import await_last_word

        await_last_word(beside, self._config.name)

    def _announce_stack(self, beside: "Stack", place: Cluster) -> None:
        from raymon.stack.training import follow
        from raymon.stack.up import addresses

        advice = follow(beside, place.metrics_urls) if not (place.local and place.dashboard_url) else ""
        for line in (*addresses(beside), *beside.problems, *([advice] if advice else [])):
            self._console.print(line, soft_wrap=True, markup=False)

    def _train(
        self, stack: contextlib.ExitStack, model: ModelSpec, directory: RunDirectory, place: Cluster | None
    ) -> int:
        from raymon.train.ppo_engine import Parts, Trainer

        config = self._config

        def first_update() -> None:
            self._watch.lap("first update")
            screen.say(self._watch.sentence())
            if place is None:
                return
            recording = recording_of(config, directory)
            if self._page_port:
                self._page = stack.enter_context(status_page(self._page_port, place, recording))
            elif recording is not None:
                stack.enter_context(recorder(place, recording))

        screen = Screen(f"{config.env} · {config.sampler} · {config.workers} workers", self._console)
        trainer = Trainer(
            Parts(
                config,
                model,
                directory,
                screen,
                self._stop.requested,
                self._resumed,
                lambda: self._watch.lap("workers"),
                first_update,
            )
        )
        stack.callback(trainer.end)
        self._stop.patient = True
        try:
            with screen:
                summary = trainer.run()
        except OSError as error:
            if error.errno not in _DISK_ERRORS:
                raise
            raise RecordsError(
                f"{directory.path} cannot be written any more: {error.strerror}; make room, then continue with "
                f"--resume {directory.path}"
            ) from error
        self._stop.patient = False
        self._conclude(summary, directory)
        if self._stop.requested():
            return self._stop.exit_code()
        if self._page is not None and not config.exit_when_done:
            self._console.print("done; the status page stays up until Ctrl-C")
            self._wait(self._page)
        return 0

    def _wait(self, page: "subprocess.Popen[bytes]") -> None:
        with contextlib.suppress(KeyboardInterrupt):
            while not self._stop.requested():
                if page.poll() is not None:
                    self._console.print("the status page has ended by itself; raymon status opens it again")
                    return
                time.sleep(0.5)

    def _conclude(self, summary: dict[str, Any], directory: RunDirectory) -> None:
        mean = "unknown" if summary["return_mean"] is None else f"{summary['return_mean']:.1f}"
        self._console.print(
            f"{summary['state']}: {summary['env_steps']:,} steps in {summary['time_seconds']:.1f} s "
            f"({summary['steps_per_second']:,.0f} steps/s), mean return {mean}; "
            f"records in {directory.path}",
            soft_wrap=True,
        )


def recording_of(config: Config, directory: RunDirectory) -> Path | None:
    """Return where the run is recorded; None if it is not."""
    return directory.path / FOLDER if config.record and config.recording else None


def status_page(
    port: int, place: Cluster, recording: Path | None = None
) -> contextlib.AbstractContextManager["subprocess.Popen[bytes]"]:
    """Serve the status page from a child process, which also records the run."""
    targets = [part for url in place.metrics_urls for part in ("--metrics-url", url)]
    record = ["--record", str(recording)] if recording is not None else []
    return _child([sys.executable, "-m", "raymon", "status", "--port", str(port), *targets, *record])


def recorder(place: Cluster, recording: Path) -> contextlib.AbstractContextManager["subprocess.Popen[bytes]"]:
    """Record a run that serves no status page, from a child process."""
    return _child([sys.executable, "-m", "raymon.incident.record", str(recording), *place.metrics_urls])


@contextlib.contextmanager
def _child(command: list[str]) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a child process in its own group, so that Ctrl-C reaches it through us."""
    from raymon.page.command import PAGE_PARENT

    environment = {**os.environ, PAGE_PARENT: str(os.getpid())}
    child = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(_PAGE_END_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _load_torch() -> None:
    import raymon.train.ppo_engine  # noqa: F401  # only to have it loaded


def start_ray(config: Config) -> Cluster:
    """Start a local Ray or join the one at `config.address`; raises `ClusterError` or `PortError`."""
    if config.address is not None:
        return join_running(config.address)
    return start_local(
        cpus=config.workers,
        object_store_mb=config.object_store_mb,
        dashboard=config.dashboard,
        dashboard_port=config.dashboard_port,
        temp_dir=config.ray_temp_dir,
    )
