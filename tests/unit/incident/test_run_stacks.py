"""Which processes an incident looks at when a run has many."""

from health_views import run, worker

from raymon.incident.run_stacks import in_order_of_interest


def test_suspect_among_a_thousand_workers_is_looked_at():
    workers = [worker(str(n), pid=n + 1, node="n", stuck_seconds=60.0 if n == 700 else 0.5) for n in range(1000)]
    view = run(*workers, driver_pid=5000, driver_node="n", driver_waits_for=("800",))
    names = in_order_of_interest(view, ["worker 400"])
    assert names[:4] == ["driver", "worker 400", "worker 800", "worker 700"]
    assert len(names) == len(set(names)) == 64
    assert any(int(name.split()[1]) > 950 for name in names[4:])


def test_all_processes_of_a_small_run_are_looked_at():
    view = run(*[worker(str(n), pid=n + 1, node="n") for n in range(8)], driver_pid=50, driver_node="n")
    assert set(in_order_of_interest(view, [])) == set(view.processes())
