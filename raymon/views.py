"""What is known of a run at one moment: the plain data that verdicts, page, terminal view and JSON are made from.

Built by `raymon.live` from scraped metrics (or by a test from numbers), judged by `raymon.health`, drawn by the page.
No I/O. `None` always means "not known", never zero; every age and duration is in seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from raymon.catalog import DRIVER

Departure = Literal["unknown", "planned", "failure"]
"""How a node left its cluster: drained or stopped, or without a warning."""
EXITED: Final = "exited without an exception"
"""`RunView.driver_exit` of a driver that reached its end, called `sys.exit` or was asked to end (SIGTERM)."""


@dataclass(frozen=True, slots=True)
class FlowView:
    """What flows through one process, or a run, while a language model is trained.

    Attributes:
        tokens_per_second: Direction (`in`, `out`) to tokens a second.
        responses_per_second: End (`complete`, `truncated`, `aborted`) to responses a second.
        response_length: Quantile ("p50", "p95", "p99") to tokens, over the last minute.
        generated_per_second: Tokens of the longest response of each batch a second: `body`, while most responses of the
            batch were running, and `tail`, while only the last few were.
        tail_responses_ratio: The share of the responses that those last few are.
        groups: Whether they have a learning signal (`yes`, `no`) to groups of the last seconds, or of the last minute
            where there are few.
        buffer_growth_per_second: Slope of the depth over the history at hand; None while not known.
        buffer_oldest_age_seconds: None while the buffer is empty.
        weight_sync_seconds: Mean duration of a synchronization.
        weight_sync_bytes: Mean size of a synchronization.
        updates_since_sync: Updates of the policy since the last synchronization of weights; None while not known.
        updates_between_syncs: The most updates between two synchronizations, over the last minutes.
        first_token_seconds: 95th percentile of the time from a request to the first token, over the last minute, of the
            inference engines of the cluster; None where none exports it.
        cache_used_ratio: The largest share of the key-value cache in use of any of them.
    """

    tokens_per_second: Mapping[str, float] = field(default_factory=dict)
    responses_per_second: Mapping[str, float] = field(default_factory=dict)
    response_length: Mapping[str, float] = field(default_factory=dict)
    generated_per_second: Mapping[str, float] = field(default_factory=dict)
    tail_responses_ratio: float | None = None
    groups: Mapping[str, float] = field(default_factory=dict)
    buffer_depth: float | None = None
    buffer_capacity: float | None = None
    buffer_oldest_age_seconds: float | None = None
    buffer_growth_per_second: float | None = None
    weight_syncs_per_second: float | None = None
    weight_sync_seconds: float | None = None
    weight_sync_bytes: float | None = None
    updates_since_sync: float | None = None
    updates_between_syncs: float | None = None
    first_token_seconds: float | None = None
    cache_used_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class WorkerView:
    """One worker as last seen.

    Attributes:
        worker: The label `worker`: a small integer as text.
        activity: One of `catalog.ACTIVITIES`, as the worker last said.
        heartbeat_age_seconds: Since the worker last flushed; keeps growing when its gauges have vanished.
        progress_age_seconds: Since it last finished a step, episode or rollout.
        stuck_seconds: Since it last progressed or waited, or, if it never did, was first seen; None while not known.
        present: Whether its gauges were in the last scrape.
        exporter_age_seconds: Since its node's own numbers last changed; None while not known.
        lifecycle: `up`, `restarting` or `given_up`, as the driver says; None when no driver reports.
        latency_seconds: Quantile ("p50", "p95", "p99") to rollout latency over the last minute.
        mean_rollout_seconds: Mean duration of the rollouts that ended within the rate window.
        rollout_steps: Environment steps per rollout in the same window.
        step_seconds: Time in rollouts per environment step, also of those that have not ended where that is known.
        longest_pause_seconds: For how long its steps stood still at most; known where rollouts are long.
        phase_ratio: Worker phase to its share of the worker's wall time over the rate window.
        restarts: Reason to number of replacements.
        recent_restarts: Replacements within the last half minute.
        rss_growth_bytes_per_second: Slope over the history at hand.
        cpu_ratio: Cores that its process uses.
        cpu_wait_ratio: Share of the generation for which it waited for a CPU core; None without a language model.
        log_id: Ray's worker id, which is in the name of its log files.
        failures: Exception class to failed rollouts per second over the rate window; 0 where it failed earlier.
        failures_total: Failed rollouts since the process started.
        failures_since_success: Failed rollouts since the last one that succeeded, as far back as the history reaches.
        failed_where: The frame of the user's code that raised the exception of its last failed rollout; empty while not
            known.
        rollouts_total: Rollouts that succeeded since the process started.
        steps_total: Environment steps since the process started.
        empty_rollouts: Rollouts without a step since its last step, as far back as the history reaches.
        empty_seconds: For how long its rollouts have had no step; None while none of the last ones was empty.
        empty_seconds_before: The longest such time after which a step followed.
        survived_pause_seconds: The longest time without progress after which it went on, over the last minutes.
        survived_silence_seconds: The longest time without a heartbeat after which it went on.
        silence_cpu_ratio: CPU that it used during its last silence; near 1 when native code kept the interpreter.
        where: The frame of the user's code in which it stands while it makes no progress; empty while not known.
        process: What its process does while it is silent: `native` or `native_busy` (native code holds the GIL, without
            or with CPU), `gone`, `stopped`, `swapping`, `starved`, `busy`, `idle`; empty while not known.
        role: One of `catalog.ROLES`.
        flow: What flows through it; empty where no language model is trained.
        token_seconds: Time of generation per token, by what is counted: `response` (every token) or `longest` (those
            of the longest response of each batch, which are what a batch that is generated at once takes).
        unit: What `step_seconds` is per: `step` of an environment or `token`.
        ended_idle: Whether it is a process of Ray's pool that was idle between tasks and is silent: Ray ends such ones.
        of_earlier_run: Whether its last heartbeat was seen before the driver, which was started again under its name.
    """

    worker: str
    activity: str | None = None
    heartbeat_age_seconds: float | None = None
    progress_age_seconds: float | None = None
    stuck_seconds: float | None = None
    present: bool = True
    exporter_age_seconds: float | None = None
    lifecycle: str | None = None
    pid: int | None = None
    node: str | None = None
    steps_per_second: float | None = None
    rollouts_per_second: float | None = None
    latency_seconds: Mapping[str, float] = field(default_factory=dict)
    mean_rollout_seconds: float | None = None
    rollout_steps: float | None = None
    step_seconds: float | None = None
    longest_pause_seconds: float | None = None
    phase_ratio: Mapping[str, float] = field(default_factory=dict)
    episode_return: float | None = None
    policy_version: float | None = None
    policy_lag: float | None = None
    restarts: Mapping[str, int] = field(default_factory=dict)
    recent_restarts: int = 0
    rss_bytes: float | None = None
    rss_growth_bytes_per_second: float | None = None
    cpu_ratio: float | None = None
    cpu_wait_ratio: float | None = None
    seen_seconds: float = 0.0
    log_id: str | None = None
    failures: Mapping[str, float] = field(default_factory=dict)
    failures_total: float = 0.0
    failures_since_success: float = 0.0
    failed_where: str = ""
    rollouts_total: float | None = None
    steps_total: float | None = None
    empty_rollouts: float = 0.0
    empty_seconds: float | None = None
    empty_seconds_before: float = 0.0
    survived_pause_seconds: float | None = None
    survived_silence_seconds: float | None = None
    silence_cpu_ratio: float | None = None
    where: str = ""
    process: str = ""
    role: str = "env"
    flow: FlowView = field(default_factory=FlowView)
    token_seconds: Mapping[str, float] = field(default_factory=dict)
    unit: str = "step"
    ended_idle: bool = False
    of_earlier_run: bool = False


@dataclass(frozen=True, slots=True)
class NodeView:
    """One node of the cluster as last seen.

    Attributes:
        url: Its metrics endpoint.
        address: Its IP address; empty while no sample named it.
        silent_seconds: Since its endpoint last answered; 0 while it answers, None when it never did.
        error: Why the last scrape failed; empty when it worked.
        listed: Whether the discovery of the cluster still lists it; a drained or dead node is no longer listed.
        departure: How it left the cluster, if it did and the discovery says so.
        departure_reason: The reason in Ray's words; empty while not known.
        exporter_age_seconds: Since any of its own numbers changed; None while not known.
        workers: Labels of the run's workers that were last seen on it.
        driver: Whether the driver of the run was last seen on it.
        lost_workers: Labels of the run's workers that ran on it when it fell silent, and run elsewhere now.
        clock_offset_seconds: How far its clock is behind ours; 0 while that cannot be distinguished from a delay.
    """

    url: str
    address: str = ""
    silent_seconds: float | None = None
    error: str = ""
    listed: bool = True
    departure: Departure = "unknown"
    departure_reason: str = ""
    exporter_age_seconds: float | None = None
    workers: tuple[str, ...] = ()
    driver: bool = False
    lost_workers: tuple[str, ...] = ()
    cpu_ratio: float | None = None
    memory_used_bytes: float | None = None
    memory_total_bytes: float | None = None
    disk_used_bytes: float | None = None
    disk_free_bytes: float | None = None
    clock_offset_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class StoreView:
    """Ray's object store, summed over the nodes, and what the run holds in it."""

    used_bytes: float | None = None
    available_bytes: float | None = None
    spilled_bytes: float | None = None
    fallback_bytes: float | None = None
    refs_held: float | None = None
    refs_held_bytes: float | None = None
    refs_oldest_age_seconds: float | None = None
    refs_growth_per_second: float | None = None
    put_bytes_per_second: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WorkerLoss:
    """A worker that the driver lost, as the driver wrote it down.

    Attributes:
        at: Wall-clock second at which the driver noticed it.
        reason: One of `catalog.LOSS_REASONS`.
        detail: Ray's words on its end or the exception that it raised, with exit code and signal; empty if not known.
    """

    worker: str
    at: float
    reason: str = "unknown"
    detail: str = ""


@dataclass(frozen=True, slots=True)
class RunView:
    """One run as last seen.

    Attributes:
        state: One of `catalog.RUN_STATES`; None when no driver reports.
        driver_heartbeat_age_seconds: None when there never was a driver process that records.
        phase_ratio: Driver phase to its share of the driver's wall time over the rate window.
        workers_by_state: `catalog.FLEET_STATES` to number, as the driver counts them.
        learning: Term to last value: policy, value, entropy, total, kl, clip_ratio, explained_variance,
            gradient_norm, learning_rate, policy_entropy, return_mean, return_min, return_max, episode_length,
            nonfinite_updates (so far), nonfinite_updates_per_second.
        recent_losses: Reason to workers lost within the last half minute.
        worker_losses: The last workers that the driver lost, oldest first, as far as it could be read.
        usual_steps_per_second: Median over the last minutes, the last quarter of a minute left out.
        usual_tokens_per_second: The same of the tokens of responses.
        data_age_seconds: Since the newest sample that this view is made from was exported.
        exporter_age_seconds: Since the nodes' own numbers last changed: Ray's exporters stand still when it grows.
        report_seconds: How often Ray exports, as seen from the heartbeats.
        watched_seconds: How long the viewer has been watching it.
        phase: The phase that took most of the driver's time between its last two exports.
        long_pause_seconds: The second longest pause of any worker after which it went on, over the last minutes.
        long_silence_seconds: The same for heartbeats.
        longest_update_gap_seconds: The longest time between two updates, over the last hour.
        earlier_step_seconds: Worker to its time per step in the windows before the current one, newest first.
        nodes: The nodes of the cluster, those with workers of this run first.
        unplaced_seconds: For how long Ray has been unable to place some task or actor; None while it places all.
        free_resources: Resource to how much of it is free and how much the nodes have; empty while not known.
        problem: Why its numbers could not be read; empty if they could.
        driver_where: The frame of the user's code in which the driver stands while it makes no progress.
        driver_process: As `WorkerView.process`.
        driver_waits_for: Workers whose results the driver waits for while it makes no progress.
        driver_silent_seconds: Since when the driver makes no progress; None while not known.
        driver_exit: Why the driver's process ended: its exception and the line that raised it, `EXITED`, else Ray's
            words; empty while not known.
        drivers: Node address and process id of each driver that reports under this name, where several do at once.
        workers_up: Workers that are up: as the driver counts them, from their heartbeats where it never counts.
        flow: What flows through all of its processes; empty where no language model is trained.
    """

    run: str
    engine: str | None = None
    algorithm: str | None = None
    sampler: str | None = None
    environment: str | None = None
    state: str | None = None
    driver_heartbeat_age_seconds: float | None = None
    last_update_age_seconds: float | None = None
    started_seconds_ago: float | None = None
    steps_per_second: float | None = None
    usual_steps_per_second: float | None = None
    usual_tokens_per_second: float | None = None
    trained_steps_per_second: float | None = None
    trained_steps: float | None = None
    target_steps: float | None = None
    updates: float | None = None
    updates_per_second: float | None = None
    iteration_seconds: float | None = None
    phase_ratio: Mapping[str, float] = field(default_factory=dict)
    policy_lag_mean: float | None = None
    policy_lag_max: float | None = None
    workers: tuple[WorkerView, ...] = ()
    workers_by_state: Mapping[str, int] = field(default_factory=dict)
    recent_losses: Mapping[str, int] = field(default_factory=dict)
    dropped_per_second: Mapping[str, float] = field(default_factory=dict)
    received_per_second: float | None = None
    inference_batch_size: float | None = None
    actor_calls_per_second: float | None = None
    learning: Mapping[str, float] = field(default_factory=dict)
    return_history: tuple[tuple[float, float], ...] = ()
    store: StoreView = field(default_factory=StoreView)
    node_cpu_ratio: Mapping[str, float] = field(default_factory=dict)
    driver_rss_bytes: float | None = None
    driver_rss_growth_bytes_per_second: float | None = None
    driver_pid: int | None = None
    driver_node: str | None = None
    data_age_seconds: float | None = None
    exporter_age_seconds: float | None = None
    report_seconds: float | None = None
    watched_seconds: float | None = None
    phase: str | None = None
    long_pause_seconds: float | None = None
    long_silence_seconds: float | None = None
    longest_update_gap_seconds: float | None = None
    earlier_step_seconds: tuple[Mapping[str, float], ...] = ()
    nodes: tuple[NodeView, ...] = ()
    unplaced_seconds: float | None = None
    free_resources: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    workers_up: int | None = None
    problem: str = ""
    driver_where: str = ""
    driver_process: str = ""
    driver_waits_for: tuple[str, ...] = ()
    driver_silent_seconds: float | None = None
    driver_exit: str = ""
    flow: FlowView = field(default_factory=FlowView)
    worker_losses: tuple[WorkerLoss, ...] = ()
    drivers: tuple[tuple[str, int], ...] = ()

    @property
    def ended(self) -> bool:
        """Whether the driver reported the end of the run."""
        return self.state in ("finished", "stopped", "failed")

    def processes(self) -> dict[str, tuple[str, int]]:
        """Return the node address and process id of the driver and the workers by `driver` and `worker N`."""
        driver = {DRIVER: (self.driver_node or "", self.driver_pid)} if self.driver_pid is not None else {}
        return driver | {f"worker {w.worker}": (w.node or "", w.pid) for w in self.workers if w.pid is not None}
