"""Every limit at which raymon calls something wrong, declared once with its reason; page and alert rules read them."""

from dataclasses import dataclass, field, fields
from typing import Final


def _threshold(value: float, reason: str) -> float:
    default: float = field(default=value, metadata={"reason": reason})
    return default


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The limits of the verdicts. `reason_of(name)` explains a value; units are in the names."""

    heartbeat_stalled_seconds: float = _threshold(
        8.0,
        "A process flushes every second and Ray exports every second where raymon started it: eight missed "
        "heartbeats are not jitter, and 7 of the 15 s within which a stopped process must be named remain.",
    )
    heartbeat_least_seconds: float = _threshold(
        6.0, "Where no heartbeat of the run was late in the last minutes, six missed ones are enough."
    )
    heartbeat_report_factor: float = _threshold(
        1.5,
        "Where Ray exports less often (10 s by default), a heartbeat may be one interval old and another half late "
        "before silence means something.",
    )
    driver_gone_seconds: float = _threshold(
        10.0,
        "A driver that computes one long update still flushes from its thread, but shares the interpreter with it; "
        "ten seconds of silence mean a dead or stopped process, and leave 5 of the 15 s to report it.",
    )
    driver_starved_seconds: float = _threshold(
        30.0,
        "Where driver and workers fall silent at the same moment and the node has no CPU left, or the driver's process "
        "is there and not stopped, what is starved is probably the node's exporter.",
    )
    dead_seconds: float = _threshold(
        60.0,
        "Ray drops a process's gauges after some 20 s of silence; a minute after its last beat, with no driver that "
        "still counts on it, a worker is taken for dead rather than stopped.",
    )
    progress_stalled_seconds: float = _threshold(
        9.0,
        "A simulator's step takes milliseconds to a second; nine seconds without one finished, while the worker says "
        "that it is sampling, is a hang, and leaves 6 of the 15 s for flush, export and scrape.",
    )
    progress_latency_factor: float = _threshold(
        3.0,
        "Where rollouts are long and progress is seen only at their end, three times the worker's own 99th percentile "
        "separates a hang from a long rollout; where steps are counted within it, three times their longest pause.",
    )
    failing_ratio: float = _threshold(
        0.1,
        "An environment that raises now and then costs an episode; when a tenth of all rollouts fail, samples are lost "
        "in earnest and those that remain are biased towards what does not fail.",
    )
    failures_least_count: float = _threshold(
        3.0, "One or two failures are an accident; three with hardly a success between them have a cause."
    )
    empty_first_seconds: float = _threshold(
        5.0, "A worker that has never returned a step is not a slow start: its rollouts end, one after the other."
    )
    empty_seconds: float = _threshold(
        20.0,
        "A method that is polled may return nothing until an episode ends; twenty seconds, and three times its longest "
        "pause so far, without a step are more than that.",
    )
    progress_least_seconds: float = _threshold(
        5.0,
        "Where the pauses of all workers have been watched and were short, six times the longest of them, and five "
        "seconds, are enough.",
    )
    learned_seconds: float = _threshold(
        30.0, "Half a minute of every worker's steps shows how long they pause; before, the fixed limits hold."
    )
    suspect_seconds: float = _threshold(
        4.0, "Silence of four seconds is unusual where steps take a fraction of one; it is information, never an alarm."
    )
    suspect_factor: float = _threshold(3.0, "Three times the longest pause so far is unusual but not yet a hang.")
    native_cpu_ratio: float = _threshold(
        0.5,
        "A process that used half a core or more while its heartbeat stood still was computing in native code that "
        "holds the GIL; one that was stopped, swapping or starved used far less.",
    )
    native_busy_seconds: float = _threshold(
        30.0, "A simulator in native code may compute for ten seconds and more; as long as it uses CPU it is not stuck."
    )
    native_idle_seconds: float = _threshold(
        12.0,
        "Native code that holds the GIL and uses no CPU waits for something: ten seconds may be a slow device, more is "
        "a hang, and must be named within 15 s.",
    )
    node_silent_seconds: float = _threshold(
        5.0,
        "A scrape a second, each with its own deadline: five seconds without an answer, while other nodes answer, are "
        "no lost packet, and leave time to name the node before its workers are taken for stopped.",
    )
    node_lost_seconds: float = _threshold(
        60.0, "A node whose workers were replaced elsewhere does no more harm; a minute is enough to read why."
    )
    unplaced_seconds: float = _threshold(
        8.0, "A replaced worker waits for a few exports until the CPU of its predecessor counts as free."
    )
    node_disk_ratio: float = _threshold(0.95, "Ray refuses to spill and to start workers when a disk is 95 % full.")
    node_clock_seconds: float = _threshold(
        5.0, "Ages are corrected for a clock that is off; five seconds also mislead logs and other tools."
    )
    node_memory_ratio: float = _threshold(
        0.95, "Above 95 % of a node's memory the kernel reclaims and swaps, and Ray kills workers."
    )
    startup_grace_seconds: float = _threshold(
        90.0,
        "Loading a simulator, importing torch or compiling takes up to a minute and more on a loaded machine; until "
        "then a worker without progress is starting, not stalled.",
    )
    warmup_seconds: float = _threshold(
        10.0,
        "The first rollouts pay for imports, caches and empty windows; a worker is not compared with others before.",
    )
    slow_factor: float = _threshold(
        2.0,
        "Workers on shared cores differ by up to half; a worker that needs twice the others' time per step costs a "
        "synchronous run half its speed.",
    )
    slow_weak_factor: float = _threshold(
        1.5,
        "With many peers and idle cores nothing but a fault makes one worker half as slow again, and it holds a "
        "synchronous run up by a third; with one peer, or on full cores, `slow_factor` is asked for.",
    )
    slow_batch_factor: float = _threshold(
        3.0,
        "On full cores, batches of a language model take equal workers up to nearly three times as long: few of them "
        "run in a window, and each needs the cores for long.",
    )
    slow_release_ratio: float = _threshold(
        0.8, "A worker that hovers at the limit keeps its state until it is a fifth below, so that it does not flash."
    )
    noise_deviations: float = _threshold(
        5.0,
        "A thousand workers are compared every second: five standard deviations of the noise between windows keep "
        "chance below one alarm in a day.",
    )
    noise_deviations_once: float = _threshold(
        2.0,
        "An excess seen in a single window must be two standard deviations larger: durations have long tails, so that "
        "single windows stray further than the normal distribution says.",
    )
    noise_few_windows: float = _threshold(
        3.0, "A standard deviation from three windows may be off by half: the factor grows by the square root of two."
    )
    noise_latency_windows: float = _threshold(
        4.0, "The noise that the latencies of many rollouts suggest counts as four windows that were seen."
    )
    noise_own_windows: float = _threshold(
        3.0,
        "What the other workers' windows show counts as three of the worker's own in the estimate of its own noise.",
    )
    noise_least_ratio: float = _threshold(
        0.1, "However regular the rollouts are, shared cores make windows of eight seconds vary by a tenth."
    )
    noise_margin: float = _threshold(
        1.5, "A worker whose true ratio is at the limit must not be called slow by chance."
    )
    slow_unwatched_factor: float = _threshold(
        1.25, "With no earlier window to show the noise, a worker must be a quarter beyond the limit."
    )
    longest_tail_factor: float = _threshold(
        10.0, "Rollouts whose 99th percentile is ten times their median may take ten times longer again."
    )
    few_rollouts_count: float = _threshold(
        20.0,
        "The longest of fewer rollouts, of all workers with the same role, says little about how long one may take: "
        "until then twice as long is allowed where steps are counted at a rollout's end.",
    )
    noise_prior_ratio: float = _threshold(
        0.25, "Before the noise of a run is known, windows of eight seconds are taken to vary by a quarter."
    )
    noise_prior_windows: float = _threshold(
        1.0, "The prior counts for one window: half a minute of two workers outweighs it."
    )
    slow_deviations: float = _threshold(
        3.0,
        "Where the others differ widely by design, an outlier must also lie this many robust deviations (1.4826 MAD "
        "of the logarithms, since speeds differ by factors) beyond their median.",
    )
    slow_minority_ratio: float = _threshold(
        1 / 3,
        "A straggler is an exception: where more than a third of the workers stand out, they differ by design, and "
        "none of them is called slow.",
    )
    pausing_seconds: float = _threshold(
        2.0,
        "A worker that has not moved for two seconds and for twice its usual pause is not slow: it will become "
        "stalled, or move on.",
    )
    slow_minimum_seconds: float = _threshold(
        0.002,
        "A rollout slower by less than two milliseconds is not worth acting on, whatever its ratio.",
    )
    slow_hold_seconds: float = _threshold(
        2.0,
        "A state derived from rates must hold this long before it is shown, so that one late export does not flash.",
    )
    learner_bound_ratio: float = _threshold(
        0.5, "When the update takes more than half of an iteration, learning is the largest single cost."
    )
    sampling_bound_ratio: float = _threshold(
        0.5, "When waiting for samples takes more than half of an iteration, sampling is the largest single cost."
    )
    inference_bound_ratio: float = _threshold(
        0.35, "Batched inference is a few percent of a healthy iteration; a third of it is the bottleneck."
    )
    transfer_bound_ratio: float = _threshold(
        0.25,
        "Moving fragments costs a few percent when they are large enough; a quarter of an iteration is the bottleneck.",
    )
    weights_bound_ratio: float = _threshold(
        0.2,
        "Handing out weights takes milliseconds; a fifth of an iteration means a model sent too often or too large.",
    )
    tail_bound_ratio: float = _threshold(
        0.25,
        "Of responses of equal length the last ones end with the others; when waiting for the last few takes a quarter "
        "of the step, the length of the longest response is what costs.",
    )
    scoring_bound_ratio: float = _threshold(
        0.3,
        "Rewards, reference log-probabilities and advantages follow generation and can overlap with it; a third of an "
        "iteration spent on one of them alone is worth acting on.",
    )
    trainer_starved_ratio: float = _threshold(
        0.5, "A trainer that is idle half of the time would train twice as much with more samples."
    )
    stale_weights_updates: float = _threshold(
        8.0,
        "Asynchronous trainers bound the staleness at one to eight updates; responses of older weights are far off "
        "policy, whatever the bound was meant to be.",
    )
    stale_dropped_updates: float = _threshold(
        4.0,
        "Where stale responses are dropped, no update follows and the lag grows no further: beyond four updates the "
        "weights of every rollout worker are why.",
    )
    overdue_sync_factor: float = _threshold(
        3.0, "Three times the usual number of updates without a synchronization mean that it hangs or fails."
    )
    no_signal_ratio: float = _threshold(
        0.9,
        "Groups of equal rewards have no advantage and train nothing; hard prompts and solved ones leave many of them, "
        "but with nine in ten the step is noise of the rest.",
    )
    no_signal_least_groups: float = _threshold(
        16.0, "Of a few groups all may be equal by chance; of sixteen, with a learning signal in half of them, never."
    )
    buffer_old_seconds: float = _threshold(
        30.0, "Samples wait for an iteration or two; in a buffer that grows, half a minute is the beginning of more."
    )
    overhead_ratio: float = _threshold(
        0.5,
        "Workers that are idle half of their time while the driver waits for their samples are held up by the calls "
        "between them, not by their work.",
    )
    other_ratio: float = _threshold(
        0.4,
        "Time outside every named phase is the loop's own; 40 % means that something unnamed costs most.",
    )
    workers_busy_ratio: float = _threshold(
        0.8, "Workers that sample four fifths of the time leave little to gain elsewhere: they are the limit."
    )
    worker_share_ratio: float = _threshold(
        0.5, "A phase that takes more than half of a worker's busy time dominates the cost of its sampling."
    )
    store_used_ratio: float = _threshold(
        0.85, "Ray spills to disk when the store is full; 85 % leaves time to act before it does."
    )
    spilled_bytes: float = _threshold(
        50e6, "A few megabytes spilled once do no harm; fifty are fragments on disk that should be in memory."
    )
    refs_growth_per_second: float = _threshold(
        0.5, "A healthy driver releases what it has trained on; half a reference a second more, sustained, is a leak."
    )
    refs_old_seconds: float = _threshold(
        8.0, "Fragments are consumed within an iteration or two; a reference older than this is being kept."
    )
    memory_growth_bytes_per_second: float = _threshold(
        2e6, "Two megabytes a second is 7 GB an hour: such a worker will be killed for memory within a working day."
    )
    memory_settle_seconds: float = _threshold(
        20.0, "Imports, buffers and allocators fill a new process's memory in its first seconds; that is no leak."
    )
    no_update_seconds: float = _threshold(
        10.0, "Updates take from milliseconds to seconds; ten seconds without one is worth a look."
    )
    no_update_least_seconds: float = _threshold(
        7.0, "Where all gaps between updates were short for half a minute, seven seconds without one are enough."
    )
    no_update_factor: float = _threshold(
        5.0, "Where an iteration is long by design, five times its usual duration without an update is not."
    )
    update_gap_factor: float = _threshold(
        2.0, "A pause between updates that the run has come back from is normal for it; twice as long is not."
    )
    pause_patience_seconds: float = _threshold(
        60.0,
        "Evaluations and checkpoints every so many updates take from seconds to a minute, and their first one comes "
        "unannounced.",
    )
    restart_loop_count: float = _threshold(
        3.0, "One loss is an accident; a worker replaced three times has a cause that replacing it does not fix."
    )
    kl_diverging_nats: float = _threshold(
        0.3, "PPO steps are kept near 0.01-0.02 nats; an order of magnitude more is a policy torn away from its data."
    )
    dropped_ratio: float = _threshold(
        0.2, "Losing a fragment now and then is the price of overlap; a fifth of all samples thrown away is waste."
    )
    node_cpu_ratio: float = _threshold(
        0.95, "Above 95 % of a node's CPU every process waits for a core: adding workers there slows all of them."
    )
    contended_cpu_ratio: float = _threshold(
        0.8,
        "A node's CPU is averaged over seconds: at four fifths its processes wait for a core now and then, and one of "
        "a few workers may have to wait long.",
    )
    starved_ratio: float = _threshold(
        0.5, "A worker that waits for a core for half of the generation is slowed to half by other processes."
    )
    slow_waiting_ratio: float = _threshold(
        0.25, "A slow worker that waits for a core for a quarter of its time would be faster elsewhere."
    )
    throughput_collapsed_ratio: float = _threshold(
        0.5, "Throughput wanders by tens of percent with episode length; below half of its own average it collapsed."
    )
    exporter_quiet_seconds: float = _threshold(
        5.0,
        "A node's own numbers change with every export and at least every few seconds; while they stand still, the "
        "silence of its processes is not their own.",
    )
    stale_seconds: float = _threshold(
        12.0,
        "With exports every second, numbers older than this are not live and are not judged; where Ray exports less "
        "often the limit grows as that of a heartbeat.",
    )


THRESHOLDS: Final = Thresholds()
"""The thresholds in force."""


def reason_of(name: str) -> str:
    """Return why the threshold `name` has the value it has; an unknown name is a KeyError."""
    return {item.name: str(item.metadata["reason"]) for item in fields(Thresholds)}[name]
