"""The first cause of a run's end: from what was known before, and from the deaths that Ray reported."""

from dataclasses import replace

import pytest
from health_views import run, worker

from raymon.cluster.cluster_state import ClusterState
from raymon.health import REMARKS, RUN_STATES, Finding, RunVerdict
from raymon.incident import causes, postmortem, watcher
from raymon.incident.causes import analyse
from raymon.incident.death_links import Moment, clock
from raymon.incident.deaths import Death, DeathLog, read_deaths
from raymon.live import debounce
from raymon.views import NodeView, WorkerLoss

NOW = 1_800_000_000.0
FINE = Finding("healthy", "ok", "Nothing is wrong.")
NODE = "10.0.0.3"
UNKNOWN_EXIT = (
    "Worker unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) the "
    "process was killed by the OOM killer due to high memory usage"
)
OUT_OF_MEMORY = "Task was killed due to the node running low on memory."


def moments(seconds, *, rss=lambda _: 1e9, used=lambda _: 50e9, finding=lambda _: FINE, state="training"):
    deaths = []
    for second in range(seconds):
        workers = [worker(str(n), pid=100 + n, node=NODE, rss_bytes=rss(second) if n == 3 else 1e9) for n in range(5)]
        node = NodeView("http://n/metrics", NODE, 0.0, memory_used_bytes=used(second), memory_total_bytes=100e9)
        view = replace(run(*workers, state=state, driver_pid=99, driver_node=NODE), nodes=(node,))
        deaths.append(Moment(NOW + second, view, RunVerdict((finding(second),))))
    return deaths


def death(second, pid, detail=UNKNOWN_EXIT, kind="worker"):
    return Death(kind, NOW + second, pid, NODE, detail)


def test_out_of_memory_names_the_worker_its_growth_and_the_node():
    seen = moments(400, rss=lambda s: 1e9 + 38e6 * s, used=lambda s: 60e9 + 0.09e9 * s)
    result = analyse(seen, [death(399, 103, OUT_OF_MEMORY)])
    assert result.first.sentence.startswith("Worker 3 was killed for memory at ")
    assert "grown by 38 MB/s for 6 min" in result.first.sentence
    assert "the node was at 96 %" in result.first.sentence


def test_rays_guess_about_memory_is_not_taken_for_the_cause():
    result = analyse(moments(30), [death(29, 102)])
    assert result.first.code == "died"
    assert result.first.sentence.startswith("Worker 2 died at ")
    assert "OOM" not in result.first.sentence


def test_the_driver_comes_before_its_workers():
    deaths = [death(28, 100, "The owner died"), death(28.2, 101), death(28.4, 99, kind="driver")]
    result = analyse(moments(30), deaths)
    assert result.first.worker == "driver"


def test_a_node_explains_the_deaths_of_its_workers():
    deaths = [death(20, 101), death(22, 0, "missed too many heartbeats", kind="node")]
    result = analyse(moments(30), deaths)
    assert result.first.code == "node_lost"
    assert "with driver, worker 0" in result.first.sentence
    assert [link.code for link in result.chain] == ["node_lost"]


def test_a_finding_that_led_to_the_death_is_the_first_cause():
    stalled = Finding("worker_stalled", "critical", "Worker 3 is stalled.", "", "3")
    result = analyse(moments(60, finding=lambda s: stalled if s > 20 else FINE), [death(59, 103)])
    assert (result.first.code, result.first.at) == ("worker_stalled", NOW + 21)
    assert [link.code for link in result.chain] == ["worker_stalled", "died"]


def test_updates_that_diverge_are_the_cause_of_the_error_that_gives_up():
    diverging = Finding("diverging", "warning", "The last update moved the policy by 200 nats of KL divergence.")
    raised = exact(50, 99, "raised", "ArithmeticError: the KL divergence is 200 nats, above 1", "driver")
    result = analyse(moments(60, finding=lambda s: diverging if s > 35 else FINE), [raised])
    assert [link.code for link in result.chain] == ["diverging", "raised"]


def test_a_hang_explains_a_driver_that_is_gone_later():
    stalled = Finding("worker_stalled", "critical", "Worker 3 is stalled.", "", "3")
    gone = Finding("driver_gone", "critical", "The driver is gone.")
    result = analyse(moments(120, finding=lambda s: FINE if s < 20 else stalled if s < 50 else gone), [])
    assert [link.code for link in result.chain] == ["worker_stalled", "driver_gone"]


def test_a_finding_that_was_over_is_no_cause():
    failing = Finding("rollouts_failing", "critical", "Every rollout fails.")
    result = analyse(moments(60, finding=lambda s: failing if s < 20 else FINE), [])
    assert result.first is None
    assert result.outcome == "unknown"


@pytest.mark.parametrize("state", ["finished", "stopped"])
def test_a_normal_end_has_no_cause(state):
    result = analyse(moments(10, state=state), [death(9, 101)])
    assert (result.outcome, result.first) == (state, None)


@pytest.mark.parametrize("state", ["stopped", "training"])
def test_run_stopped_with_ctrl_c_says_so(state):
    result = analyse(moments(10, state=state), [exact(9, 99, "interrupted", kind="driver")])
    assert result.outcome == "stopped"
    assert result.first.sentence.startswith("The driver was interrupted (Ctrl-C) at ")


def test_workers_that_ray_ended_with_their_driver_are_no_cause():
    ended = "The actor is dead because its owner has died."
    deaths = [exact(28.0, 99, "raised", "KeyError: 'reward'", "driver"), exact(27.9, 100, "vanished", ended)]
    result = analyse(moments(30), deaths)
    assert (result.first.worker, len(result.chain)) == ("driver", 1)


def lost(seen, second, updated=None):
    """Return the moments of a run whose driver lost worker 3, and which last made an update at a second."""
    loss = WorkerLoss("3", NOW + second, "error", "ValueError: bad action, in `Env.step (e.py:3)`")
    for number, moment in enumerate(seen):
        age = None if updated is None else moment.at - min(moment.at, NOW + updated)
        view = replace(moment.view, worker_losses=(loss,), last_update_age_seconds=age)
        seen[number] = replace(moment, view=view)
    return seen


def test_loss_that_the_driver_wrote_down_is_the_first_cause():
    gave_up = exact(28, 99, "raised", "RuntimeError: no workers are left", "driver")
    result = analyse(lost(moments(30), 25, updated=26), [gave_up])
    assert (result.first.code, result.first.worker) == ("raised", "3")
    assert result.first.sentence.startswith("Worker 3 was lost at ")
    assert result.first.sentence.endswith(": ValueError: bad action, in `Env.step (e.py:3)`.")
    assert [link.code for link in result.chain] == ["raised", "raised"]
    known = [exact(24.8, 103, "vanished"), gave_up]
    assert analyse(lost(moments(30), 25), known).first.code == "died", "the same death is one link"


def test_loss_that_the_run_survived_is_evidence():
    result = analyse(lost(moments(60), 25, updated=58), [exact(59, 99, "raised", "KeyError: 'x'", "driver")])
    assert result.first.worker == "driver"
    assert any("Worker 3 was lost at" in fact for fact in result.evidence)


@pytest.mark.parametrize("updated", [None, 5])
def test_loss_whose_worker_samples_again_was_survived(updated):
    result = analyse(lost(moments(60), 6, updated), [exact(59, 99, "raised", "KeyError: 'x'", "driver")])
    assert result.first.worker == "driver"


def test_loss_in_a_run_that_goes_on_without_counting_updates_was_survived():
    seen = [replace(each, view=replace(each.view, workers=each.view.workers[:3])) for each in lost(moments(60), 5)]
    assert analyse(seen, [exact(59, 99, "raised", "KeyError: 'x'", "driver")]).first.worker == "driver"


@pytest.mark.parametrize(
    ("raised", "first"),
    [
        ("KeyError: 'reward', in Worker.update (worker.py:7)", "driver"),
        ("RuntimeError: shapes of the actor network differ, in train (train.py:9)", "driver"),
        ("RuntimeError: training failed (from ActorDiedError), in train (train.py:9)", "3"),
        ("RuntimeError: no workers are left", "3"),
        ("ValueError: batch of worker 3 is empty, in train (train.py:9)", "3"),
        ("ConnectionResetError: [Errno 104] Connection reset by peer", "3"),
    ],
)
@pytest.mark.parametrize("logged", [True, False])
def test_lost_worker_is_the_cause_only_of_exceptions_that_speak_of_it(raised, first, logged):
    stalled = Finding("worker_stalled", "critical", "Worker 3 is stalled.", "", "3")
    seen = moments(30, finding=lambda s: stalled if 23 < s < 28 else FINE)
    end = exact(28, 99, "raised", raised, "driver")
    result = analyse(seen, [exact(22, 103, "vanished"), end]) if logged else analyse(lost(seen, 22), [end])
    assert result.first.worker == first
    assert len([fact for fact in result.evidence if "Worker 3" in fact]) == (first == "driver")


def exact(second, pid, how, detail="", kind="worker", raised_by=0):
    return Death(kind, NOW + second, pid, NODE, detail, how, raised_by)


def test_exact_moments_tell_cause_from_consequence():
    seen = moments(30)
    killed = [exact(28.0, 101, "vanished"), exact(28.4, 99, "raised", "ActorDiedError: The actor died", "driver")]
    assert analyse(seen, killed).first.worker == "1"
    ended = [exact(28.0, 99, "exited", kind="driver"), exact(28.1, 101, "vanished")]
    assert "SIGTERM" in analyse(seen, ended).first.sentence
    node = [exact(28.0, 101, "vanished"), exact(28.05, 7, "vanished", kind="raylet")]
    assert analyse(seen, node).first.sentence.startswith(f"Node {NODE} was lost at ")
    assert "with worker 1: its raylet ended." in analyse(seen, node).first.sentence
    head = [exact(28.0, 8, "vanished", kind="gcs")]
    assert analyse(seen, head).first.code == "head_lost"


def test_a_hang_explains_a_driver_that_was_killed_with_its_cluster():
    stalled = Finding("worker_stalled", "critical", "Worker 3 is stalled.", "", "3")
    deaths = [exact(59.0, 99, "vanished", kind="driver"), exact(59.1, 8, "vanished", kind="gcs")]
    silent = Finding("node_silent", "critical", "A node does not answer.")
    seen = moments(120, finding=lambda s: FINE if s < 20 else stalled if s < 59 else silent)
    result = analyse(seen, deaths)
    assert (result.first.code, result.first.worker) == ("worker_stalled", "3")
    assert analyse(moments(60), deaths).first.code in ("died", "head_lost")


def test_exception_of_a_worker_that_ended_the_driver_is_the_workers():
    result = analyse(
        moments(30), [exact(28, 99, "raised", "ValueError: bad action, in Env.step (e.py:3)", "driver", 102)]
    )
    assert result.first.worker == "2"
    assert result.first.sentence.startswith("Worker 2 raised ValueError: bad action, in Env.step (e.py:3), at ")


@pytest.mark.parametrize(("begin", "code"), [(25, "raised"), (5, "rollouts_failing")])
def test_exception_says_more_than_rollouts_that_have_just_begun_to_fail(begin, code):
    failing = Finding("rollouts_failing", "critical", "Every rollout fails with ModuleNotFoundError in __init__.")
    raised = exact(28.0, 99, "raised", "ModuleNotFoundError: No module named 'simulator'", "driver")
    result = analyse(moments(40, finding=lambda second: FINE if second < begin else failing), [raised])
    assert result.first.code == code


def test_rays_explanation_joins_the_exact_moment(tmp_path):
    log = DeathLog(tmp_path)
    log.add(exact(1, 101, "vanished"))
    ended = {"kind": "worker", "pid": 101, "node": NODE, "exit": OUT_OF_MEMORY, "ended_at": NOW + 2}
    log.update(ClusterState(NOW + 2, (), (ended,), ()))
    (deaths,) = read_deaths(tmp_path)
    assert (deaths.how, deaths.at, deaths.detail) == ("vanished", NOW + 1, OUT_OF_MEMORY)


def test_worker_that_grew_is_named_where_ray_ended_another():
    seen = moments(60, rss=lambda s: 1e9 + 100e6 * s)
    result = analyse(seen, [exact(59, 101, "vanished", OUT_OF_MEMORY)])
    assert result.first.sentence.startswith("Worker 1 was killed for memory at ")
    assert "though it is worker 3 whose memory had grown by 100 MB/s" in result.first.sentence
    says = "OutOfMemoryError: Refer to the documentation: https://docs.ray.io/en/latest/debug-memory.html"
    result = analyse(seen, [exact(59, 99, "raised", says, "driver")])
    assert (result.first.code, result.first.worker) == ("memory", "3")
    assert result.first.sentence.startswith("A worker was killed for memory at ")
    assert "and it is worker 3 whose memory had grown by 100 MB/s" in result.first.sentence
    cuda = [exact(59, 99, "raised", "OutOfMemoryError: CUDA out of memory. Tried to allocate 20 GiB", "driver")]
    assert analyse(seen, cuda).first.code == "raised"


DISK = Finding("node_disk", "warning", f"The disk of node {NODE} is 98 % full.")
MEMORY = Finding("node_memory", "warning", f"Node {NODE} uses 96 % of its memory: Ray kills workers there next.")
NO_SPACE = "OSError: [Errno 28] No space left on device, in save (train.py:9)"


@pytest.mark.parametrize(
    "codes", [causes.CAUSES, causes.TERMINAL, causes.SHORTAGES, watcher.ALSO, watcher.APART, postmortem.HANGS]
)
def test_codes_that_decide_are_declared(codes):
    assert set(codes) <= {*RUN_STATES, *REMARKS}
    assert set(debounce._AT_ONCE) <= {*RUN_STATES, *REMARKS}


@pytest.mark.parametrize(
    ("finding", "end", "code"),
    [
        (DISK, exact(50, 99, "raised", NO_SPACE, "driver"), "node_disk"),
        (DISK, exact(50, 102, "crashed", "SIGSEGV, Segmentation fault"), "crashed"),
        (MEMORY, exact(50, 102, "vanished"), "node_memory"),
        (MEMORY, exact(50, 99, "raised", "KeyError: 'reward'", "driver"), "raised"),
        (MEMORY, Death("node", NOW + 50, 0, NODE, "missed too many heartbeats"), "node_memory"),
    ],
)
def test_shortage_of_a_node_is_the_cause_of_ends_it_can_explain(finding, end, code):
    result = analyse(moments(60, finding=lambda s: finding if s > 20 else FINE), [end])
    assert result.first.code == code
    assert (finding.sentence in result.evidence) is (code not in ("node_disk", "node_memory"))


@pytest.mark.parametrize(
    ("detail", "free", "says"),
    [
        (
            NO_SPACE,
            90e9,
            "A disk was full at {at}: the driver raised OSError: [Errno 28] No space left on device, in save",
        ),
        (NO_SPACE, 90e9, "; the disk of node 10.0.0.3 that Ray watches was 10 % full, so it was another one, a quota"),
        (NO_SPACE, 90e9, ", or full for a moment only."),
        (NO_SPACE, 0.1e9, "; the disk of node 10.0.0.3 that Ray watches was 99 % full."),
        ("OSError: [Errno 122] Disk quota exceeded", 90e9, "A disk quota was exceeded at {at}: the driver raised"),
    ],
)
def test_exception_that_names_a_full_disk_says_which(detail, free, says):
    growing = Finding("memory_growth", "warning", "Worker 3's memory grows.", worker="3")
    seen = moments(60, finding=lambda s: growing if s > 20 else FINE)
    used = {"disk_used_bytes": 10e9, "disk_free_bytes": free}
    nodes = tuple(replace(node, **used) for node in seen[-1].view.nodes)
    seen = [replace(moment, view=replace(moment.view, nodes=nodes)) for moment in seen]
    result = analyse(seen, [exact(50, 99, "raised", detail, "driver")])
    assert (result.first.code, result.first.disk_full) == ("raised", True)
    assert says.format(at=clock(NOW + 50)) in result.first.sentence


def test_full_disk_in_a_worker_is_the_workers():
    result = analyse(moments(60), [exact(50, 99, "raised", NO_SPACE, "driver", raised_by=102)])
    assert result.first.worker == "2"
    assert ": worker 2 raised OSError: [Errno 28]" in result.first.sentence
    assert result.first.sentence.endswith("; the driver did not catch it.")


def test_shortage_of_another_node_explains_nothing():
    other = replace(DISK, sentence="The disk of node 10.0.0.31 is 98 % full.")
    seen = moments(60, finding=lambda s: other if s > 20 else FINE)
    nodes = (*seen[0].view.nodes, NodeView("http://o/metrics", "10.0.0.31", 0.0))
    seen = [replace(moment, view=replace(moment.view, nodes=nodes)) for moment in seen]
    assert analyse(seen, [exact(50, 99, "raised", NO_SPACE, "driver")]).first.code == "raised"


def test_full_disk_explains_a_failed_run_without_a_log_of_deaths():
    seen = moments(60, finding=lambda s: DISK)
    failed = RunVerdict((Finding("failed", "critical", f"The run failed: {NO_SPACE}"), DISK))
    view = replace(seen[-1].view, state="failed", driver_exit=NO_SPACE)
    seen[-1] = Moment(seen[-1].at, view, failed)
    assert analyse(seen, []).first.code == "node_disk"
    assert analyse(moments(60, finding=lambda s: DISK), []).first is None
