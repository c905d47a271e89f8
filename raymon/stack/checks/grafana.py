"""Checks of Grafana and of whether the Ray Dashboard reaches it."""

from typing import Final

from raymon.cluster.auth import unencrypted
from raymon.queries import large_fleet
from raymon.stack import files
from raymon.stack.checks.inspection import Inspection
from raymon.stack.checks.outcome import Check, Outcome, absent, no_answer, ok, problem, unknown
from raymon.stack.compare import is_current
from raymon.stack.grafana import GrafanaError

_NONE: Final = "No Grafana to ask."
EXTRA: Final = "pip install 'raymon-rl[stack]'"
_LOGIN: Final = "raymon doctor --grafana-token-file FILE, with a service account's token"


def reachable(inspection: Inspection) -> Outcome:
    """Ask Grafana for its health, as the Ray Dashboard does."""
    service = inspection.grafana_service
    if not inspection.has_grafana_client:
        state = unknown if service.named else absent
        return state("Grafana is not checked: raymon's extra `stack` is not installed.", EXTRA)
    health, why = inspection.grafana_health
    if inspection.has_grafana:
        warning = unencrypted(service.url, "the login") if inspection.grafana_auth else ""
        sentence = f"Grafana {health.get('version', '')} answers at {service.url} ({service.by})".replace("  ", " ")
        return ok(f"{sentence}{warning and f'; {warning}'}.")
    if health:
        return problem(f"Grafana at {service.url} says its database is {health['database']!r}.", "look at its log")
    return no_answer(service, "Grafana", why, "the status page works without it.")


def datasource(inspection: Inspection) -> Outcome:
    """Look up the datasource by its uid, and where it points."""
    if not inspection.has_grafana:
        return absent(_NONE)
    uid = files.datasource()["uid"]
    try:
        datasource = inspection.grafana.datasource(uid)
    except GrafanaError as error:
        return unknown(f"Grafana does not show its datasources: {error}.", _LOGIN)
    push = f"raymon dashboards push --url {inspection.grafana_service.url} --token-file FILE --prometheus-url URL"
    if datasource is None:
        return problem(
            f"There is no datasource {uid}; the dashboards then use the default one, if that is a Prometheus.", push
        )
    if datasource.get("type") != "prometheus":
        return problem(f"Datasource {uid} is of type {datasource.get('type')!r}.", push + " --force")
    return ok(f"Datasource {uid} points to {datasource.get('url')}.")


def dashboards(inspection: Inspection) -> Outcome:
    """Look for raymon's dashboards and compare them with this version's."""
    if not inspection.has_grafana:
        return absent(_NONE)
    missing, old, recorded = [], [], []
    models, for_large_fleet = files.dashboards(), files.dashboards(for_large_fleet=True)
    for name, model in models.items():
        try:
            reply = inspection.grafana.dashboard(model["uid"])
            if reply is None:
                missing.append(model["uid"])
            elif is_current(inspection.grafana, model, reply):
                continue
            elif is_current(inspection.grafana, for_large_fleet[name], reply):
                recorded.append(model["uid"])
            else:
                old.append(model["uid"])
        except GrafanaError as error:
            return unknown(f"Grafana does not show its dashboards: {error}.", _LOGIN)
    if missing or old:
        parts = [f"not there: {', '.join(missing)}"] if missing else []
        parts += [f"another version: {', '.join(old)}"] if old else []
        return problem(
            f"Of {len(models)} dashboards, {'; '.join(parts)}.",
            f"raymon dashboards push --url {inspection.grafana_service.url} --token-file FILE",
        )
    if recorded and inspection.has_prometheus and not _large_fleet_rules(inspection):
        return problem(
            f"{', '.join(recorded)} read recorded series, but Prometheus has not loaded {files.LARGE_FLEET_RULES}.",
            "add it to rule_files, or push the dashboards without --large-fleet",
        )
    return ok(f"All {len(models)} dashboards are there and current.")


def _large_fleet_rules(inspection: Inspection) -> bool:
    """Return whether Prometheus has loaded the rules that the dashboards for large fleets read."""
    groups = inspection.ask_prometheus("rules", type="record").get("groups", [])
    loaded = {rule.get("name") for group in groups for rule in group.get("rules", [])}
    return all(part.series in loaded for part in large_fleet.PARTS)


def _seen_by_ray(inspection: Inspection, part: str, url: str) -> Outcome:
    if not inspection.dashboard_url:
        return absent("No Ray Dashboard.")
    reply = inspection.ask_dashboard(f"/api/{part.lower()}_health")
    if reply.status in (401, 403):
        return unknown(f"The Ray Dashboard refuses the request ({reply.error}): see the check `token`.")
    health = reply.json()
    if reply.ok and health.get("result") is not False:
        return ok(f"The Ray Dashboard reaches {part}: {health.get('msg', 'healthy')}")
    if reply.status == 0:
        return problem(f"The Ray Dashboard does not answer: {reply.error}.", "see the check `token`")
    reason = health.get("msg") or reply.error
    variable = f"RAY_{part.upper()}_HOST={url}"
    mend = f"where Ray's head starts, before it starts: export {variable}   (raymon up prints all of them)"
    if not (inspection.has_prometheus if part == "Prometheus" else inspection.has_grafana):
        return absent(f"The Ray Dashboard shows its box: {reason}", f"raymon up, then {mend}")
    return problem(f"{part} runs, but the Ray Dashboard does not find it: {reason}", mend)


def prometheus_health(inspection: Inspection) -> Outcome:
    """Ask the Ray Dashboard whether it reaches Prometheus."""
    return _seen_by_ray(inspection, "Prometheus", inspection.prometheus.url)


def grafana_health(inspection: Inspection) -> Outcome:
    """Ask the Ray Dashboard whether it reaches Grafana."""
    return _seen_by_ray(inspection, "Grafana", inspection.grafana_service.url)


CHECKS: Final = (
    Check("grafana", "Does Grafana answer?", reachable),
    Check("datasource", "Has it raymon's datasource?", datasource),
    Check("dashboards", "Has it raymon's dashboards, current?", dashboards),
    Check("ray-prometheus", "Does the Ray Dashboard reach Prometheus?", prometheus_health),
    Check("ray-grafana", "Does the Ray Dashboard reach Grafana?", grafana_health),
)
