"""Queries of the dashboards whose answer to a missing part counts, asked of promtool with the series of a run."""

import subprocess

import yaml
from support import ROOT

from generate.dashboards import DASHBOARDS
from raymon import catalog, queries
from raymon.queries import large_fleet
from raymon.queries.query import Query, substitute

VARIABLES = {"$__rate_interval": "20s", "$__range": "1m", "$session": ".+", "$worker": ".+", "$run": ".+"}
STEP_SECONDS = 5

COUNTERS = (
    catalog.ENV_STEPS,
    catalog.EPISODES,
    catalog.EMPTY_ROLLOUTS,
    catalog.ROLLOUT_SECONDS,
    catalog.CPU_SECONDS,
    catalog.RECORDING_SECONDS,
    catalog.TAIL_RESPONSES,
    catalog.GENERATION_SECONDS,
)


def series(metric, values, **labels):
    """Return a series of a metric of run r in promtool's notation, one value every five seconds."""
    written = ",".join(f'{name}="{value}"' for name, value in {"run": "r", **labels}.items())
    return {"series": f"{metric.name}{{{written}}}", "values": values}


RUN = [
    series(catalog.RUN_INFO, "1x40", engine="own"),
    series(catalog.ENV_STEPS, "0+50x40", worker="0"),
    series(catalog.HEARTBEAT, "0+5x40", worker="0"),
    series(catalog.HEARTBEAT, "0+5x40", worker="1"),
]


def check(folder, asked, given, rules=()):
    """Let promtool check what expressions return: triples of expression, second, and values by labels."""
    test = {
        "interval": f"{STEP_SECONDS}s",
        "input_series": given,
        "promql_expr_test": [
            {
                "expr": substitute(asking.expression if isinstance(asking, Query) else asking, VARIABLES),
                "eval_time": f"{second}s",
                "exp_samples": [{"labels": labels, "value": value} for labels, value in samples.items()],
            }
            for asking, second, samples in asked
        ],
    }
    document = {
        "rule_files": [str(ROOT / "prometheus" / name) for name in rules],
        "evaluation_interval": f"{STEP_SECONDS}s",
        "tests": [test],
    }
    (folder / "cases.yml").write_text(yaml.safe_dump(document))
    result = subprocess.run(
        ["promtool", "test", "rules", folder / "cases.yml"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_run_without_a_verdict_has_the_number_of_none(tmp_path):
    verdict = series(catalog.RUN_VERDICT, "_x10 1x10", code="slow", severity="warning")
    asked = [(queries.verdicts.SEVERITY, 30, {'{run="r"}': 0}), (queries.verdicts.SEVERITY, 80, {'{run="r"}': 4})]
    check(tmp_path, asked, [*RUN, verdict])
    others = [series(catalog.RUN_VERDICT, "1x40", run=name, code="ok", severity="ok") for name in ("a", "b", "c")]
    asked = [(f"{queries.verdicts.SEVERITY.expression} == 4", 80, {'{run="r"}': 4})]
    asked.append((f"count({queries.verdicts.SEVERITY.expression})", 80, {"{}": 3}))
    check(tmp_path, asked, [*RUN, verdict, *others])


def test_missing_rules_are_a_problem(tmp_path):
    missing = {'{alertname="rules not loaded", run="r"}': 1}
    check(tmp_path, [(queries.run.PROBLEMS, 20, {}), (queries.run.PROBLEMS, 120, missing)], RUN)
    check(tmp_path, [(queries.run.PROBLEMS, 40, {}), (queries.run.PROBLEMS, 120, {})], RUN, rules=["rules.yml"])


def test_a_lost_worker_is_marked_when_it_is_replaced_and_when_it_is_given_up(tmp_path):
    (expression,) = {
        annotation["expr"]
        for board in DASHBOARDS
        for annotation in board.model()["annotations"]["list"]
        if annotation["name"] == "Worker lost"
    }
    given_up = series(catalog.WORKER_TROUBLE, "0x11 1x28", worker="1", state="given_up")
    replaced = series(catalog.WORKER_RESTARTS, "_x23 1x16", worker="0", reason="killed")
    asked = [
        (expression, 55, {}),
        (expression, 60, {'{reason="given up", run="r", worker="1"}': 1}),
        (expression, 100, {}),
        (expression, 120, {'{reason="killed", run="r", worker="0"}': 1}),
        (expression, 180, {}),
    ]
    check(tmp_path, asked, [*RUN, given_up, replaced])


def test_workers_have_their_role_or_that_of_environments(tmp_path):
    role = series(catalog.ROLE, "1x40", worker="1", role="reward")
    roles = {'{role="env", run="r", worker="0"}': 0, '{role="reward", run="r", worker="1"}': 1}
    check(tmp_path, [(queries.workers.ROLE, 60, roles)], [*RUN, role])


def test_an_update_is_late_for_the_iterations_of_its_run(tmp_path):
    """Both runs updated last after 10 s; an iteration of run r takes 300 ms, one of run s 30 s."""
    given = [series(catalog.LAST_UPDATE, "10x60"), series(catalog.LAST_UPDATE, "10x60", run="s")]
    given += [series(catalog.ITERATION_SECONDS, "0.3x60"), series(catalog.ITERATION_SECONDS, "30x60", run="s")]
    asked = [
        (queries.run.UPDATE_AGE, 25, {'{run="r"}': 15, '{run="s"}': 15}),
        (queries.run.UPDATE_AGE, 40, {'{run="r", late=", late"}': 30, '{run="s"}': 30}),
        (queries.run.UPDATE_AGE, 170, {'{run="r", late=", late"}': 160, '{run="s", late=", late"}': 160}),
    ]
    check(tmp_path, asked, given)


def test_workers_are_compared_within_their_role(tmp_path):
    """Workers 0 and 1 have no role, as in 0.1.0; 2 generates, 3 scores for longer than anything else takes."""
    given = [*RUN, series(catalog.ROLE, "1x40", worker="2", role="rollout")]
    given.append(series(catalog.ROLE, "1x40", worker="3", role="reward"))
    for worker, phase, seconds in (("0", "environment", 3), ("1", "environment", 2), ("2", "generate", 5)):
        given.append(series(catalog.WORKER_PHASE, f"0+{seconds}x40", worker=worker, phase=phase))
        given.append(series(catalog.WORKER_PHASE, f"0+{5 - seconds}x40", worker=worker, phase="waiting"))
    given.append(series(catalog.WORKER_PHASE, "0+5x40", worker="3", phase="reward"))
    for worker, activity in (("0", "environment"), ("1", "waiting"), ("2", "generate"), ("3", "reward")):
        states = dict.fromkeys(("environment", "waiting"), 0) | {activity: 1}
        given += [series(catalog.ACTIVITY, f"{on}x40", worker=worker, activity=each) for each, on in states.items()]
        given.append(series(catalog.ROLLOUT_LATENCY, f"{2 ** int(worker)}x40", worker=worker, quantile="0.95"))
        given.append(series(catalog.PROGRESS, f"{int(worker)}x40", worker=worker))
    given.append(series(catalog.ENV_STEPS, "0+10x40", worker="1"))
    given += [series(catalog.ENV_STEPS, "0x40", worker=worker) for worker in ("2", "3")]
    doing = {
        '{activity="environment"}': 1,
        '{activity="waiting"}': 1,
        '{role="rollout ", activity="generate"}': 1,
        '{role="reward ", activity="reward"}': 1,
    }
    spent = {
        '{phase="environment"}': 0.5,
        '{phase="waiting"}': 0.5,
        '{role="rollout ", phase="generate"}': 1,
        '{role="reward ", phase="reward"}': 1,
    }
    slowest = {'{run="r", worker="0"}': 1, '{run="r", worker="1"}': 2, '{run="r", role="rollout ", worker="2"}': 4}
    silent = {
        '{run="r", worker="0"}': 60,
        '{run="r", worker="1"}': 59,
        '{run="r", role="rollout ", worker="2"}': 58,
        '{run="r", role="reward ", worker="3"}': 57,
    }
    asked = [
        (queries.run.ACTIVITIES, 60, doing),
        (queries.run.WORKER_PHASES, 60, spent),
        (queries.workers.SLOWEST, 60, slowest),
        (queries.workers.LONGEST_SILENT, 60, silent),
        (queries.workers.FEWEST_STEPS, 60, {'{run="r", worker="0"}': 10, '{run="r", worker="1"}': 2}),
    ]
    check(tmp_path, asked, given)
    # Two processes under one number: the new one, and one that has just ended.
    given += [
        series(catalog.ROLE, "1x40", worker="3", role="trainer"),
        series(catalog.TOKENS, "0+5x40", direction="out"),
    ]
    several = (queries.run.WORKER_PHASES, 4), (queries.language.ROLE_PHASES, 2)
    asked = [(f"count({query.expression})", 60, {"{}": number}) for query, number in several]
    check(tmp_path, asked, given)


def test_recorded_queries_return_what_the_others_do(tmp_path):
    """Worker 0 has no role, 1 generates; each query is compared with its recorded form, of rates of one minute."""
    given = [*RUN, series(catalog.LEARNER_VERSION, "9x40"), series(catalog.WORKERS, "2x40", state="up")]
    given.append(series(catalog.ROLE, "1x40", worker="1", role="rollout"))
    for worker in ("0", "1"):
        own = {"worker": worker}
        counters = [(metric, own) for metric in COUNTERS]
        counters += [
            (catalog.ROLLOUT_FAILURES, {**own, "exception": "E"}),
            (catalog.RESPONSES, {**own, "end": "complete"}),
        ]
        counters += [(catalog.TOKENS, {**own, "direction": each}) for each in ("in", "out")]
        counters += [(catalog.GENERATION_LENGTH, {**own, "part": each}) for each in ("body", "tail")]
        counters += [(catalog.WORKER_PHASE, {**own, "phase": each}) for each in ("generate", "waiting")]
        given += [series(metric, f"0+{2 + int(worker)}x40", **labels) for metric, labels in counters]
        gauges = [(catalog.RESPONSE_LENGTH, {"quantile": str(each)}) for each in catalog.QUANTILES]
        gauges.append((catalog.ROLLOUT_LATENCY, {"quantile": "0.95"}))
        gauges += [(catalog.WORKER_STATE, {"state": "running", "severity": "ok"}), (catalog.PROGRESS, {})]
        gauges += [(catalog.POLICY_VERSION, {}), (catalog.RESIDENT_MEMORY, {})]
        given += [series(metric, f"{2 + int(worker)}x40", **own, **labels) for metric, labels in gauges]
        given.append(series(catalog.ACTIVITY, "1x40", **own, activity="waiting"))
    given = list({each["series"]: each for each in given}.values())
    asked = []
    for query in queries.BOOK.values():
        raw = query.expression.replace("$__rate_interval", large_fleet.RATE_WINDOW)
        recorded = large_fleet.recorded(query.expression)
        if recorded != query.expression:
            asked.append((f"count(({recorded}) == ({raw})) / count({raw})", 150, {"{}": 1}))
            asked.append((f"count({recorded}) / count({raw})", 150, {"{}": 1}))
    assert len(asked) > 60
    check(tmp_path, asked, given, rules=["rules.yml", "large-fleet-rules.yml"])


def test_rollout_durations_are_those_of_the_three_slowest_workers(tmp_path):
    given, durations = list(RUN), {"0": 4.0, "1": 3.0, "2": 2.0, "3": 1.0}
    for worker, duration in durations.items():
        # The fastest at the 95th percentile is the slowest in the middle.
        given.append(series(catalog.ROLLOUT_LATENCY, f"{duration}x40", worker=worker, quantile="0.95"))
        given.append(series(catalog.ROLLOUT_LATENCY, f"{0.5 / duration}x40", worker=worker, quantile="0.5"))
        given.append(series(catalog.ROLLOUT_SECONDS, "0+5x40", worker=worker))
        given.append(series(catalog.ROLLOUTS, f"0+{5 * duration}x40", worker=worker))
    worst = {worker: duration for worker, duration in durations.items() if worker != "3"}
    asked = [
        (queries.workers.ONE_LATENCY_P95, 60, {f'{{run="r", worker="{w}"}}': d for w, d in worst.items()}),
        (queries.workers.ONE_LATENCY_P50, 60, {f'{{run="r", worker="{w}"}}': 0.5 / d for w, d in worst.items()}),
        (queries.workers.ONE_MEAN_ROLLOUT, 60, {f'{{run="r", worker="{w}"}}': 1 / d for w, d in worst.items()}),
    ]
    check(tmp_path, asked, given)
