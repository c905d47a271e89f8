"""Checks of Grafana and of what the Ray Dashboard sees of it."""

from typing import Final

from raymon.stack import files
from raymon.stack.checks.result import Check, Finding, absent, ok, problem, unknown
from raymon.stack.checks.situation import Situation
from raymon.stack.compare import is_current
from raymon.stack.grafana import GrafanaError

_NONE: Final = "No Grafana to ask."
EXTRA: Final = "pip install 'raymon-rl[stack]'"
_LOGIN: Final = "raymon doctor --grafana-token-file FILE, with a service account's token"


def reachable(situation: Situation) -> Finding:
    """Ask Grafana for its health, as the Ray Dashboard does."""
    place = situation.grafana_place
    if not situation.can_ask_grafana:
        state = unknown if place.named else absent
        return state("Grafana is not checked: raymon's extra `stack` is not installed.", EXTRA)
    told, why = situation.grafana_health
    if situation.has_grafana:
        return ok(f"Grafana {told.get('version', '')} answers at {place.url} ({place.by}).".replace("  ", " "))
    if told:
        return problem(f"Grafana at {place.url} says its database is {told['database']!r}.", "look at its log")
    if place.named:
        mend = "raymon up" if place.by == "raymon up" else f"correct {place.by}, or start one: raymon up"
        return problem(f"{place.url} ({place.by}) does not answer as Grafana: {why}.", mend)
    return absent(f"None at {place.url}: the status page works without it.", "raymon up")


def datasource(situation: Situation) -> Finding:
    """Look for the datasource by uid and where it points."""
    if not situation.has_grafana:
        return absent(_NONE)
    uid = files.datasource()["uid"]
    try:
        found = situation.grafana.datasource(uid)
    except GrafanaError as error:
        return unknown(f"Grafana does not let us see its datasources: {error}.", _LOGIN)
    push = f"raymon dashboards push --url {situation.grafana_place.url} --token-file FILE --prometheus-url URL"
    if found is None:
        return problem(
            f"There is no datasource {uid}; the dashboards then use the default one, if that is a Prometheus.", push
        )
    if found.get("type") != "prometheus":
        return problem(f"Datasource {uid} is of type {found.get('type')!r}.", push + " --force")
    return ok(f"Datasource {uid} points to {found.get('url')}.")


def dashboards(situation: Situation) -> Finding:
    """Look for raymon's dashboards and whether they are this version's."""
    if not situation.has_grafana:
        return absent(_NONE)
    missing, old, models = [], [], files.dashboards()
    for model in models.values():
        try:
            found = situation.grafana.dashboard(model["uid"])
            if found is None:
                missing.append(model["uid"])
            elif not is_current(situation.grafana, model, found):
                old.append(model["uid"])
        except GrafanaError as error:
            return unknown(f"Grafana does not let us see its dashboards: {error}.", _LOGIN)
    if missing or old:
        parts = [f"not there: {', '.join(missing)}"] if missing else []
        parts += [f"another version: {', '.join(old)}"] if old else []
        return problem(
            f"Of {len(models)} dashboards, {'; '.join(parts)}.",
            f"raymon dashboards push --url {situation.grafana_place.url} --token-file FILE",
        )
    return ok(f"All {len(models)} dashboards are there and current.")


def _seen_by_ray(situation: Situation, path: str, part: str, variable: str, url: str) -> Finding:
    if not situation.dashboard_url:
        return absent("No Ray Dashboard.")
    reply = situation.ask_dashboard(path)
    if reply.status in (401, 403):
        return unknown(f"The Ray Dashboard refuses the question ({reply.error}): see the check `token`.")
    told = reply.json()
    if reply.ok and told.get("result") is not False:
        return ok(f"The Ray Dashboard reaches {part}: {told.get('msg', 'healthy')}")
    if reply.status == 0:
        return problem(f"The Ray Dashboard does not answer: {reply.error}.", "see the check `token`")
    reason = told.get("msg") or reply.error
    mend = f"where Ray's head starts, before it starts: export {variable}={url}   (raymon up prints all of them)"
    if not (situation.has_prometheus if part == "Prometheus" else situation.has_grafana):
        return absent(f"The Ray Dashboard shows its box: {reason}", f"raymon up, then {mend}")
    return problem(f"{part} runs, but the Ray Dashboard does not find it: {reason}", mend)


def prometheus_health(situation: Situation) -> Finding:
    """Ask the Ray Dashboard whether it reaches Prometheus."""
    url = situation.prometheus.url
    return _seen_by_ray(situation, "/api/prometheus_health", "Prometheus", "RAY_PROMETHEUS_HOST", url)


def grafana_health(situation: Situation) -> Finding:
    """Ask the Ray Dashboard whether it reaches Grafana."""
    url = situation.grafana_place.url
    return _seen_by_ray(situation, "/api/grafana_health", "Grafana", "RAY_GRAFANA_HOST", url)


CHECKS: Final = (
    Check("grafana", "Does Grafana answer?", reachable),
    Check("datasource", "Has it raymon's datasource?", datasource),
    Check("dashboards", "Has it raymon's dashboards, current?", dashboards),
    Check("ray-prometheus", "Does the Ray Dashboard reach Prometheus?", prometheus_health),
    Check("ray-grafana", "Does the Ray Dashboard reach Grafana?", grafana_health),
)
