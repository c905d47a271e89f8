"""Every metric raymon records, declared once.

Read by the recorder, the query book, the dashboards, the rules, the status page, the metric reference and the tests:
nothing else in the repository spells a metric's name. Runs at import and uses the standard library only. An invalid
metric raises `CatalogError` when it is declared, so an invalid catalogue cannot be imported.

Names are those that Prometheus stores. Ray prefixes custom metrics with `ray_`, so `recorded_name` strips that.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

Kind = Literal["counter", "gauge", "histogram"]
Source = Literal["worker", "driver", "process", "flow", "export", "user"]

PREFIX: Final = "ray_raymon_"
DRIVER: Final = "driver"
"""Value of the label `worker` for what the driver records about itself."""

# Enumerated label values: a value outside these is refused, so that no label can grow without bound.
ROLES: Final = ("env", "rollout", "trainer", "reward", "reference", "critic", "buffer")
"""Roles of a process: `env` samples environments, the others work on language models."""
LANGUAGE_PHASES: Final = ("generate", "reward", "reference", "advantage", "train", "weight_sync")
"""Phases of training language models, in workers and drivers; each is exported from its first use on."""
ACTIVITIES: Final = ("starting", "environment", "inference", "sending", "waiting", *LANGUAGE_PHASES)
WORK_PHASES: Final = ("environment", "inference", "sending")
"""Phases in which a worker is busy; the rest of its time it waits."""
WORKER_PHASES: Final = (*WORK_PHASES, "waiting")
DRIVER_PHASES: Final = ("sample", "inference", "transfer", "weights", "learn", "checkpoint", "log", "other")
RUN_STATES: Final = ("starting", "training", "finished", "stopped", "failed")
"""`finished` reached its target, `stopped` was ended by the user, `failed` ended with an error."""
FLEET_STATES: Final = ("expected", "up", "restarting", "given_up")
LOSS_REASONS: Final = ("killed", "oom", "error", "timeout", "node", "unknown")
DROP_REASONS: Final = ("stale", "invalid", "lost", "shutdown")
LOSS_TERMS: Final = ("policy", "value", "entropy", "total")
QUANTILES: Final = (0.5, 0.95, 0.99)
MOST_FAILURE_CLASSES: Final = 8
"""Exception classes one worker names as values of the label `exception`; further ones count as `OTHER_FAILURES`."""
OTHER_FAILURES: Final = "other"

_LABEL_VALUES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "quantile": tuple(str(q) for q in QUANTILES),
        "outcome": ("received", "trained", "dropped"),
        "kind": ("rollouts", "weights", "other"),
        "statistic": ("mean", "min", "max"),
        "term": LOSS_TERMS,
        "role": ROLES,
    }
)
_UNBOUNDED: Final = frozenset({"step", "episode", "seed", "actor", "actor_id", "pid", "update", "timestamp"})
_RESERVED: Final = frozenset(
    {"Component", "NodeAddress", "SessionName", "Version", "WorkerId", "le", "job", "instance"}
)
_UNITS: Final = ("", "seconds", "bytes", "ratio", "timestamp", "nats", "steps", "reward")
_SUFFIX_OF_UNIT: Final[Mapping[str, str]] = MappingProxyType(
    {"seconds": "_seconds", "bytes": "_bytes", "ratio": "_ratio", "timestamp": "_timestamp_seconds"}
)
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_ENCODED: Final = re.compile(r"(?:%[89A-F][0-9A-F])+")
"""Bytes of UTF-8 beyond ASCII, as `ascii_label` writes them."""


class CatalogError(ValueError):
    """An invalid declaration of a metric; the message says what was found, what was expected and what to do."""


_known: "dict[str, Metric]" = {}
"""Every declaration of this process by name, to refuse two different metrics of the same name."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family.

    Example:
        >>> resets = Metric("resets_total", "counter", "Resets of the simulator.")
        >>> resets.name
        'ray_raymon_resets_total'

    A name may be declared again only with the same attributes.

    Attributes:
        name: The stored name; `ray_raymon_` is added if it is missing.
        kind: `counter` (only grows, ends in `_total`), `gauge` or `histogram`.
        help: One sentence, ending in a full stop.
        unit: One of "", seconds, bytes, ratio, timestamp, nats, steps, reward; the name ends accordingly.
        labels: Labels beyond `run` and `worker`, each with few, enumerated values.
        source: Which process records it; `raymon export` serves those of source `export`. Families of source `driver`
            and `export` carry no label `worker` unless they name it.
        values: The allowed values of each label in `labels`; a label missing here takes any short string.
        buckets: Upper bounds of a histogram, rising and positive.
        present: When the family exists, in words; empty if every run has it.
    """

    name: str
    kind: Kind
    help: str
    unit: str = ""
    labels: tuple[str, ...] = ()
    source: Source = "user"
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    buckets: tuple[float, ...] = ()
    present: str = ""

    def __post_init__(self) -> None:
        bare = self.name.removeprefix(PREFIX)
        object.__setattr__(self, "name", PREFIX + bare)
        if not _NAME.fullmatch(bare):
            raise CatalogError(f"metric name {self.name!r}: expected lower_case words joined by single underscores")
        if self.kind not in ("counter", "gauge", "histogram"):
            raise CatalogError(f"{self.name}: found kind {self.kind!r}, expected counter, gauge or histogram")
        if (self.kind == "counter") != bare.endswith("_total"):
            raise CatalogError(f"{self.name} is a {self.kind}: exactly the counters end in _total; rename it")
        if self.unit not in _UNITS:
            raise CatalogError(f"{self.name}: found unit {self.unit!r}, expected one of {', '.join(_UNITS[1:])}")
        suffix = _SUFFIX_OF_UNIT.get(self.unit, "")
        if not bare.removesuffix("_total").endswith(suffix):
            raise CatalogError(f"{self.name}: a metric in {self.unit} has a name that ends in {suffix}; rename it")
        if not self.help.endswith(".") or "\n" in self.help:
            raise CatalogError(f"{self.name}: the help text is one sentence that ends in a full stop")
        if (self.kind == "histogram") != bool(self.buckets):
            raise CatalogError(f"{self.name}: exactly the histograms have buckets")
        if list(self.buckets) != sorted(set(self.buckets)) or any(bound <= 0 for bound in self.buckets):
            raise CatalogError(f"{self.name}: buckets {self.buckets} must be positive and rising")
        self._check_labels()
        known = _known.setdefault(self.name, self)
        if known != self:
            whose = "one of raymon's own families" if self.name in _declared else "declared already, and differently"
            raise CatalogError(f"{self.name} is {whose} ({known.kind}, labels {known.labels}); take another name")

    def _check_labels(self) -> None:
        for label in self.labels:
            if label in _UNBOUNDED or label in _RESERVED or label == "run" or not _NAME.fullmatch(label):
                raise CatalogError(
                    f"{self.name}: label {label!r} is reserved or has an unbounded number of values; "
                    "put it into a log line, not into a metric"
                )
        if len(set(self.labels)) != len(self.labels):
            raise CatalogError(f"{self.name}: a label is named twice in {self.labels}")
        merged = {label: _LABEL_VALUES[label] for label in self.labels if label in _LABEL_VALUES}
        merged.update(self.values)
        if stray := set(merged) - set(self.labels):
            raise CatalogError(f"{self.name}: values given for {sorted(stray)}, which are not among its labels")
        object.__setattr__(self, "values", MappingProxyType(merged))

    def __reduce__(self) -> tuple[object, ...]:
        arguments = (self.name, self.kind, self.help, self.unit, self.labels, self.source)
        return (Metric, (*arguments, dict(self.values), self.buckets, self.present))

    @property
    def recorded_name(self) -> str:
        """The name passed to Ray, which adds `ray_`."""
        return self.name.removeprefix("ray_")

    @property
    def all_labels(self) -> tuple[str, ...]:
        """Every label raymon sets on the family, in a fixed order."""
        own = ("run",) if self.source in ("driver", "export") or "worker" in self.labels else ("run", "worker")
        return own + self.labels

    @property
    def series(self) -> int:
        """Most series of one process; labels without enumerated values count once."""
        count = 1
        for label in self.labels:
            count *= len(self.values.get(label, ("",)))
        return count * (len(self.buckets) + 3 if self.kind == "histogram" else 1)


_declared: dict[str, Metric] = {}


def _declare(name: str, kind: Kind, source: Source, text: str, unit: str = "", **more: object) -> Metric:
    labels = more.get("labels", ())
    metric = Metric(name, kind, text, unit, source=source, **more)  # type: ignore[arg-type]  # checked by Metric itself
    if metric.name in _declared:
        raise CatalogError(f"{metric.name} is declared twice; labels {labels}")
    _declared[metric.name] = metric
    return metric


def ascii_label(text: str) -> str:
    """Return a label's value as Ray can export it: letters beyond ASCII become bytes of UTF-8, as in `caf%C3%A9`."""
    if text.isascii():
        return text
    return "".join(
        letter if letter.isascii() else "".join(f"%{byte:02X}" for byte in letter.encode("utf-8", "surrogatepass"))
        for letter in text
    )


def label_text(label: str) -> str:
    """Return what `ascii_label` was called with, as in `café`; bytes that are not UTF-8 stay as they are."""
    return _ENCODED.sub(_decoded, label) if "%" in label else label


def _decoded(match: re.Match[str]) -> str:
    try:
        return bytes.fromhex(match[0].replace("%", "")).decode()
    except UnicodeDecodeError:
        return match[0]


def every() -> Iterator[Metric]:
    """Yield every built-in family that a process of a run records, in the order of declaration."""
    yield from (metric for metric in _declared.values() if metric.source != "export")


def of(source: Source) -> tuple[Metric, ...]:
    """Return the built-in families of one source."""
    return tuple(metric for metric in _declared.values() if metric.source == source)


# --- every process that records -------------------------------------------------------------------------------------
HEARTBEAT = _declare(
    "heartbeat_timestamp_seconds",
    "gauge",
    "process",
    "When this process last exported its metrics to Ray; constant once the process is dead or stopped.",
    "timestamp",
)
PROCESS_ID = _declare(
    "process_pid", "gauge", "process", "Process id on its node, as a value so that a restart adds no series."
)
RESIDENT_MEMORY = _declare(
    "process_resident_memory_bytes",
    "gauge",
    "process",
    "Resident memory of the process, without shared memory such as that of the object store.",
    "bytes",
)
CPU_SECONDS = _declare(
    "process_cpu_seconds_total", "counter", "process", "User and system CPU time of the process.", "seconds"
)
CPU_WAIT_SECONDS = _declare(
    "process_cpu_wait_seconds_total",
    "counter",
    "process",
    "Time for which the process's main thread was ready to run and had to wait for a CPU core.",
    "seconds",
    present="after the process lacked a core, on Linux",
)
RECORDING_SECONDS = _declare(
    "recording_seconds_total",
    "counter",
    "process",
    "CPU time used by raymon's flush thread in the process.",
    "seconds",
)
RECORDING_DROPPED = _declare(
    "recording_dropped_total", "counter", "process", "Observations that raymon could not export and dropped."
)

# --- a worker: a process that samples -------------------------------------------------------------------------------
PROGRESS = _declare(
    "worker_progress_timestamp_seconds",
    "gauge",
    "worker",
    "When this worker last finished a step, an episode or a rollout; constant while the worker waits or hangs.",
    "timestamp",
)
ACTIVITY = _declare(
    "worker_activity",
    "gauge",
    "worker",
    "1 for the worker's current activity, 0 for the others.",
    labels=("activity",),
    values={"activity": ACTIVITIES},
)
ENV_STEPS = _declare("env_steps_total", "counter", "worker", "Environment steps taken.")
ROLLOUTS = _declare("rollouts_total", "counter", "worker", "Rollouts finished (one rollout makes one fragment).")
ROLLOUT_FAILURES = _declare(
    "rollout_failures_total",
    "counter",
    "worker",
    "Rollouts that raised an exception, by its class; the ninth and later classes of a worker count as `other`.",
    labels=("exception",),
    present="after a rollout failed",
)
EMPTY_ROLLOUTS = _declare(
    "empty_rollouts_total",
    "counter",
    "worker",
    "Rollouts that finished without an environment step, where steps are counted.",
    present="after a rollout without a step",
)
TASK_PROCESSES = _declare(
    "task_processes_total",
    "counter",
    "worker",
    "1 for each process of Ray's pool that recorded in a task; Ray ends such processes when they are idle.",
    present="where Ray tasks record",
)
ROLLOUT_SECONDS = _declare("rollout_seconds_total", "counter", "worker", "Wall time spent inside rollouts.", "seconds")
ROLLOUT_LATENCY = _declare(
    "rollout_latency_seconds",
    "gauge",
    "worker",
    "Quantiles of the duration of the worker's rollouts over the last minute.",
    "seconds",
    labels=("quantile",),
)
WORKER_PHASE = _declare(
    "worker_phase_seconds_total",
    "counter",
    "worker",
    "Wall time of the worker by phase; the rest of the wall time is overhead of Ray and Python.",
    "seconds",
    labels=("phase",),
    values={"phase": (*WORKER_PHASES, *LANGUAGE_PHASES)},
)
EPISODES = _declare("episodes_total", "counter", "worker", "Episodes finished.")
EPISODE_RETURN = _declare(
    "episode_return", "gauge", "worker", "Mean undiscounted return of the worker's last 100 episodes.", "reward"
)
POLICY_VERSION = _declare(
    "policy_version", "gauge", "worker", "Version of the policy the worker samples with (updates made to it)."
)

# --- the driver: the process that trains ----------------------------------------------------------------------------
RUN_INFO = _declare(
    "run_info",
    "gauge",
    "driver",
    "Always 1; the labels describe the run.",
    labels=("engine", "algorithm", "sampler", "environment"),
)
RUN_STATE = _declare(
    "run_state",
    "gauge",
    "driver",
    "1 for the current state of the run, 0 for the others.",
    labels=("state",),
    values={"state": RUN_STATES},
)
RUN_START = _declare(
    "run_start_timestamp_seconds", "gauge", "driver", "When training began in this process; set once.", "timestamp"
)
TARGET_STEPS = _declare(
    "target_env_steps",
    "gauge",
    "driver",
    "Environment steps after which the run ends; 0 if there is no target.",
    "steps",
)
TRAINED_STEPS = _declare(
    "trained_env_steps", "gauge", "driver", "Environment steps trained on so far, including resumed ones.", "steps"
)
WORKERS = _declare(
    "workers",
    "gauge",
    "driver",
    "Workers by state: expected by the driver, up, restarting, given up.",
    labels=("state",),
    values={"state": FLEET_STATES},
)
WORKER_TROUBLE = _declare(
    "worker_trouble",
    "gauge",
    "driver",
    "1 while the driver restarts a worker or after it gave the worker up, 0 once it is back.",
    labels=("worker", "state"),
    values={"state": ("restarting", "given_up")},
    present="after a worker was lost",
)
WORKER_LOSSES = _declare(
    "worker_losses_total",
    "counter",
    "driver",
    "Workers lost, by reason.",
    labels=("reason",),
    values={"reason": LOSS_REASONS},
)
WORKER_RESTARTS = _declare(
    "worker_restarts_total",
    "counter",
    "driver",
    "Workers replaced after a loss, by worker and reason.",
    labels=("worker", "reason"),
    values={"reason": LOSS_REASONS},
    present="after a worker was replaced",
)
UPDATES = _declare("updates_total", "counter", "driver", "Policy updates: iterations of collecting and learning.")
LAST_UPDATE = _declare(
    "last_update_timestamp_seconds", "gauge", "driver", "When the last policy update ended.", "timestamp"
)
ITERATION_SECONDS = _declare(
    "iteration_seconds", "gauge", "driver", "Mean wall time of the iterations of the last 10 seconds.", "seconds"
)
PHASE_SECONDS = _declare(
    "phase_seconds_total",
    "counter",
    "driver",
    "Wall time of the driver's iterations by phase; the phases sum to the wall time.",
    "seconds",
    labels=("phase",),
    values={"phase": (*DRIVER_PHASES, *LANGUAGE_PHASES)},
)
FRAGMENTS = _declare(
    "fragments_total",
    "counter",
    "driver",
    "Fragments by outcome; received = trained + dropped + waiting in the driver.",
    labels=("outcome",),
)
FRAGMENT_STEPS = _declare(
    "fragment_env_steps_total",
    "counter",
    "driver",
    "Environment steps in fragments, by outcome.",
    labels=("outcome",),
)
FRAGMENTS_DROPPED = _declare(
    "fragments_dropped_total",
    "counter",
    "driver",
    "Fragments dropped, by reason.",
    labels=("reason",),
    values={"reason": DROP_REASONS},
)
FLEET_ROLLOUT = _declare(
    "fleet_rollout_seconds",
    "histogram",
    "driver",
    "Duration of every rollout of every worker, as received by the driver.",
    "seconds",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0),
)
LEARNER_VERSION = _declare(
    "learner_policy_version", "gauge", "driver", "Version of the policy in the learner (updates made to it)."
)
POLICY_LAG = _declare(
    "policy_lag",
    "gauge",
    "driver",
    "Updates between the policy that sampled and the policy that learns, over the last batch.",
    labels=("statistic",),
    values={"statistic": ("mean", "max")},
)
PUT_BYTES = _declare(
    "object_store_put_bytes_total",
    "counter",
    "driver",
    "Bytes the run sent through Ray's object store.",
    "bytes",
    labels=("kind",),
)
REFS_HELD = _declare("object_refs_held", "gauge", "driver", "Object references the driver holds.")
REFS_HELD_BYTES = _declare(
    "object_refs_held_bytes", "gauge", "driver", "Bytes kept alive by the references the driver holds.", "bytes"
)
REFS_OLDEST = _declare(
    "object_refs_oldest_timestamp_seconds",
    "gauge",
    "driver",
    "When the oldest reference that the driver holds was created; 0 if it holds none.",
    "timestamp",
)
FLEET_RETURN = _declare(
    "fleet_episode_return",
    "gauge",
    "driver",
    "Undiscounted return of the last 100 episodes of all workers.",
    "reward",
    labels=("statistic",),
    present="after the first episode ended",
)
FLEET_LENGTH = _declare(
    "fleet_episode_length_steps",
    "gauge",
    "driver",
    "Mean length of the last 100 episodes of all workers.",
    "steps",
    present="after the first episode ended",
)
LOSS = _declare("loss", "gauge", "driver", "Loss of the last update by term.", labels=("term",))
KL = _declare(
    "kl_divergence_nats", "gauge", "driver", "Approximate KL divergence of the last update from the old policy.", "nats"
)
ENTROPY = _declare("policy_entropy_nats", "gauge", "driver", "Mean entropy of the policy in the last update.", "nats")
CLIP_RATIO = _declare(
    "clip_ratio", "gauge", "driver", "Share of samples whose probability ratio was clipped in the last update.", "ratio"
)
EXPLAINED_VARIANCE = _declare(
    "explained_variance", "gauge", "driver", "1 - Var[return - value] / Var[return] of the last batch."
)
GRADIENT_NORM = _declare(
    "gradient_norm", "gauge", "driver", "Norm of the gradient before clipping, mean over the last update."
)
LEARNING_RATE = _declare("learning_rate", "gauge", "driver", "Step size of the optimizer.")
NONFINITE_UPDATES = _declare(
    "nonfinite_updates_total",
    "counter",
    "driver",
    "Updates whose loss or gradient was not finite; raymon train skips them.",
)
ACTOR_CALLS = _declare("actor_calls_total", "counter", "driver", "Sampling calls the driver made to its actors.")
INFERENCE_BATCHES = _declare(
    "inference_batches_total",
    "counter",
    "driver",
    "Batches of observations the driver's policy answered.",
    present="with inference in the driver (sampler step)",
)
INFERENCE_OBSERVATIONS = _declare(
    "inference_observations_total",
    "counter",
    "driver",
    "Observations in those batches; divided by the batches, the mean batch size.",
    present="with inference in the driver (sampler step)",
)
GPU_UTILIZATION = _declare(
    "learner_gpu_utilization_ratio",
    "gauge",
    "driver",
    "Utilization of the learner's GPU.",
    "ratio",
    present="with the learner on CUDA",
)
GPU_MEMORY = _declare(
    "learner_gpu_memory_bytes",
    "gauge",
    "driver",
    "GPU memory allocated by the learner.",
    "bytes",
    present="with the learner on CUDA",
)

# --- verdicts: served by `raymon export`, not recorded; the values of the labels are those of raymon.health ---------
RUN_VERDICT = _declare(
    "run_verdict",
    "gauge",
    "export",
    "1 for the current verdict on the run, by code and severity of its first finding.",
    labels=("code", "severity"),
)
RUN_FINDING = _declare(
    "run_finding",
    "gauge",
    "export",
    "1 for each current finding on the run, including the verdict, by code and severity.",
    labels=("code", "severity"),
)
WORKER_STATE = _declare(
    "worker_state",
    "gauge",
    "export",
    "1 for the worker's current state, with its severity.",
    labels=("worker", "state", "severity"),
)

# --- what flows while a language model is trained: recorded by whichever process knows it ----------------------------
_LANGUAGE: Final = "while a language model is trained"
ROLE = _declare(
    "role",
    "gauge",
    "flow",
    "1 for the role of this process; processes that sample environments and drivers have none.",
    labels=("role",),
    present="for roles other than env",
)
TOKENS = _declare(
    "tokens_total",
    "counter",
    "flow",
    "Tokens of prompts (in) and responses (out).",
    labels=("direction",),
    values={"direction": ("in", "out")},
    present=_LANGUAGE,
)
RESPONSES = _declare(
    "responses_total",
    "counter",
    "flow",
    "Responses generated: complete, truncated at the length limit, or aborted.",
    labels=("end",),
    values={"end": ("complete", "truncated", "aborted")},
    present=_LANGUAGE,
)
RESPONSE_LENGTH = _declare(
    "response_length",
    "gauge",
    "flow",
    "Quantiles of the length in tokens of the responses of the last minute.",
    labels=("quantile",),
    present=_LANGUAGE,
)
GENERATION_LENGTH = _declare(
    "generation_length_total",
    "counter",
    "flow",
    "Tokens of the longest response of each batch: while most responses were running, and for the last 3 % (tail).",
    labels=("part",),
    values={"part": ("body", "tail")},
    present=_LANGUAGE,
)
GENERATION_SECONDS = _declare(
    "generation_seconds_total",
    "counter",
    "flow",
    "Wall time in which the counted responses were generated, counted with them when their batch ends.",
    "seconds",
    present=_LANGUAGE,
)
TAIL_RESPONSES = _declare(
    "tail_responses_total", "counter", "flow", "Responses that were the last of their batch to end.", present=_LANGUAGE
)
GROUPS = _declare(
    "groups_total",
    "counter",
    "flow",
    "Groups of responses to one prompt: with a learning signal, or without (all rewards equal).",
    labels=("signal",),
    values={"signal": ("yes", "no")},
    present=_LANGUAGE,
)
BUFFER_DEPTH = _declare(
    "buffer_depth", "gauge", "flow", "Samples in the buffer that wait for training.", present=_LANGUAGE
)
BUFFER_CAPACITY = _declare(
    "buffer_capacity", "gauge", "flow", "Samples that the buffer can hold; 0 without a limit.", present=_LANGUAGE
)
BUFFER_OLDEST = _declare(
    "buffer_oldest_timestamp_seconds",
    "gauge",
    "flow",
    "When the oldest sample in the buffer was generated; 0 if the buffer is empty.",
    "timestamp",
    present=_LANGUAGE,
)
WEIGHT_SYNCS = _declare(
    "weight_syncs_total", "counter", "flow", "Synchronizations of weights to rollout workers.", present=_LANGUAGE
)
WEIGHT_SYNC_SECONDS = _declare(
    "weight_sync_seconds_total", "counter", "flow", "Wall time of synchronizing weights.", "seconds", present=_LANGUAGE
)
WEIGHT_SYNC_BYTES = _declare(
    "weight_sync_bytes_total", "counter", "flow", "Bytes of weights synchronized.", "bytes", present=_LANGUAGE
)

SERIES_BUDGET: Final[Mapping[str, int]] = MappingProxyType({"worker": 25, "driver": 150})
"""Series of one process that trains with environments; training a language model adds `LANGUAGE_SERIES` at most.

A worker whose rollouts fail exceeds its budget by `MOST_FAILURE_CLASSES + 1` at most, one that lacks a core by 1.
"""


def series_of(role: Literal["worker", "driver"]) -> int:
    """Return the most series of one process of the role, including the process families.

    A worker's families that have a condition (`present`) are not counted: a healthy worker does not export them.
    """
    own = [metric for metric in (*of("process"), *of(role)) if role == "driver" or not metric.present]
    phased = [metric for metric in own if metric in (ACTIVITY, WORKER_PHASE, PHASE_SECONDS)]
    return sum(metric.series for metric in own) - len(phased) * len(LANGUAGE_PHASES)


LANGUAGE_SERIES: Final = sum(metric.series for metric in of("flow")) - len(ROLES) + 1 + 2 * len(LANGUAGE_PHASES)
"""Families of flow, one role, and the additional phases as time and as activity."""


for _role, _budget in SERIES_BUDGET.items():
    if (_found := series_of(_role)) > _budget:  # type: ignore[arg-type]  # the keys are the two roles
        raise CatalogError(f"a {_role} would have {_found} series, the budget is {_budget}; remove labels or families")
