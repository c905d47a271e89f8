"""`raymon train` with raymon's own PPO: one run, with Ray, records, page and Grafana around its training loop."""

import contextlib
import dataclasses
import os
import subprocess
import threading
from typing import TYPE_CHECKING, Any, Final

from raymon.cluster.start import Cluster, check_ray
from raymon.envs import make_vector
from raymon.ppo.actions import action_spec
from raymon.ppo.policy import ModelSpec
from raymon.train import checkpoint, host
from raymon.train.checkpoint import Checkpoint, CheckpointError
from raymon.train.console import Screen
from raymon.train.options import Config, ConfigError
from raymon.train.records import RunDirectory, new_name, writing
from raymon.train.startup import Stopwatch
from raymon.train.stop import Stop

if TYPE_CHECKING:
    from raymon.stack.running import RunningStack


def run(config: Config) -> int:
    """Train and return the exit code.

    Raises:
        UserError: The options, the environment or the surroundings do not work, or the run failed.
    """
    watch = Stopwatch()
    stop = Stop()
    stop.install()
    try:
        return _Session(config, stop, watch).run()
    except KeyboardInterrupt:
        return stop.exit_code()


MOST_WEIGHTS: Final = 100_000_000
"""Largest policy and value network together: each worker and the learner hold copies of their weights."""


def model_for(config: Config) -> ModelSpec:
    """Return the networks' shape for an environment, which is made once to read its spaces.

    Raises:
        ConfigError: The networks would be larger than `MOST_WEIGHTS`.
        EnvError: The environment cannot be made.
        SpaceError: PPO cannot choose actions of its kind.
    """
    vector = make_vector(config.env, 1, seed=config.seed, worker=0, step_threads=0)
    try:
        size = int(vector.single_observation_space.shape[0])
        actions = action_spec(vector.single_action_space, config.bounds)
    finally:
        vector.close()
    model = ModelSpec(size, actions, config.hidden, config.activation, config.deviation, config.initial_log_std)
    if (weights := model.size()) > MOST_WEIGHTS:
        raise ConfigError(
            f"found {weights:,} weights for {size:,} observations, {model.head_size:,} outputs and --hidden "
            f"{' '.join(map(str, config.hidden))}, expected at most {MOST_WEIGHTS:,}: make the layers smaller"
        )
    return model


class _Session:
    def __init__(self, config: Config, stop: Stop, watch: Stopwatch) -> None:
        self._stop, self._watch, self._console = stop, watch, host.open_console()
        self._resumed: Checkpoint | None = None
        if config.resume is not None:
            self._resumed = checkpoint.load(config.resume)
            folder = checkpoint.find(config.resume).parent
            config = dataclasses.replace(config, runs=folder.parent, name=folder.name)
        self._config = config if config.name else dataclasses.replace(config, name=new_name(config.env))
        self._page: subprocess.Popen[bytes] | None = None

    def run(self) -> int:
        config = self._config
        if config.workers:
            check_ray()
        page_port = host.page_port(config)
        loading = threading.Thread(target=_load_torch, daemon=True)
        loading.start()  # while Ray starts, which is mostly waiting
        model = model_for(config)
        self._watch.lap("environment")
        self._check_resumed(model)
        with contextlib.ExitStack() as exits:
            stack = self._start_stack(exits) if config.stack else None  # before Ray, which reads its addresses
            kept = config.runs / config.name / checkpoint.FILE_NAME
            cluster = exits.enter_context(host.ray_session(config, self._stop, kept)) if config.workers else None
            self._watch.lap("Ray")
            if stack is not None and cluster is not None and cluster.local:
                exits.callback(self._await_last_scrape, stack)
            loading.join()
            self._watch.lap("torch")
            directory = RunDirectory(config, self._resumed.counters if self._resumed is not None else None)
            if cluster is not None:
                host.announce(self._console, config, directory.path, cluster, page_port)
                if stack is not None:
                    self._announce_stack(stack, cluster)
            return self._train(exits, model, directory, cluster, page_port)

    def _check_resumed(self, model: ModelSpec) -> None:
        saved, config = self._resumed, self._config
        if saved is None:
            return
        if saved.model != model:
            raise CheckpointError(
                f"the checkpoint's model {saved.model} does not fit the options, which make {model}; resume with the "
                "environment and network it was trained with"
            )
        normalizer = saved.normalizer
        for option, used in (
            ("normalize_observations", normalizer.observations is not None),
            ("normalize_rewards", normalizer.rewards is not None),
        ):
            if used != getattr(config, option):
                raise CheckpointError(
                    f"the run was trained with {option}: {used}, which cannot change when it is resumed; resume it "
                    "with the same, or begin a new run"
                )
        for option, limit, done in (
            ("total-env-steps", config.max_env_steps, saved.counters["env_steps"]),
            ("total-seconds", config.max_seconds, saved.counters["time_seconds"]),
        ):
            if limit is not None and done >= limit:
                raise ConfigError(
                    f"the run has already trained {done:,.0f} of --{option} {limit:,.0f}; give a larger --{option}"
                )

    def _start_stack(self, exits: contextlib.ExitStack) -> "RunningStack":
        from raymon.stack.training import start_before_ray

        stack = exits.enter_context(start_before_ray(self._config.ray_temp_dir))
        os.environ.update(stack.environment)
        return stack

    def _await_last_scrape(self, stack: "RunningStack") -> None:
        from raymon.stack.training import await_last_word

        await_last_word(stack, self._config.name)

    def _announce_stack(self, stack: "RunningStack", cluster: Cluster) -> None:
        from raymon.stack.training import follow
        from raymon.stack.up import addresses

        dashboard = (cluster.dashboard_url or "") if cluster.lists_nodes else ""
        discovered = cluster.local and cluster.dashboard_url
        advice = "" if discovered else follow(stack, cluster.metrics_urls, dashboard)
        for line in (*addresses(stack), *stack.problems, *([advice] if advice else [])):
            self._console.print(line, soft_wrap=True, markup=False)

    def _train(
        self,
        exits: contextlib.ExitStack,
        model: ModelSpec,
        directory: RunDirectory,
        cluster: Cluster | None,
        page_port: int,
    ) -> int:
        from raymon.train.trainer import Setup, Trainer

        config = self._config

        def first_update() -> None:
            self._watch.lap("first update")
            screen.say(self._watch.sentence())
            if cluster is None:
                return
            if page_port:
                self._page = exits.enter_context(host.status_page(page_port, cluster, config))

        if cluster is not None:
            exits.enter_context(host.recorder(config, directory.path, cluster))
        screen = Screen(f"{config.env} · {config.sampler} · {config.workers} workers", self._console)
        trainer = Trainer(
            Setup(
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
        exits.callback(trainer.end)
        self._stop.patient = True
        try:
            with screen, writing(directory.path, f"make room, then continue with --resume {directory.path}"):
                summary = trainer.run()
        finally:
            self._stop.patient = False
        self._conclude(summary, directory)
        if self._stop.requested():
            return self._stop.exit_code()
        if self._page is not None and not config.exit_when_done:
            host.keep_page_up(self._page, self._stop, self._console)
        return 0

    def _conclude(self, summary: dict[str, Any], directory: RunDirectory) -> None:
        mean = "unknown" if summary["return_mean"] is None else f"{summary['return_mean']:.1f}"
        trained = (
            f"{summary['env_steps']:,} steps in {summary['time_seconds']:.1f} s "
            f"({summary['steps_per_second']:,.0f} steps/s), mean return {mean}"
        )
        stopped = summary["state"] == "stopped"
        advice = f"; continue with `raymon train --resume {directory.path}`" if stopped else ""
        self._console.print(
            f"{f'stopped by {self._stop.cause()}' if stopped else 'finished'}: "
            f"{trained if summary['updates'] else 'before the first update'}; records in {directory.path}{advice}",
            soft_wrap=True,
            markup=False,
        )


def _load_torch() -> None:
    import raymon.train.trainer  # noqa: F401  # only to have it loaded
