"""Checks of Prometheus: there, scraping this cluster, with raymon's rules, none broken."""

from typing import Any, Final

from raymon.stack import files
from raymon.stack.checks.endpoints import found_among
from raymon.stack.checks.inspection import Inspection, host_and_port
from raymon.stack.checks.outcome import Check, Outcome, absent, no_answer, ok, problem, unknown

_NONE: Final = "No Prometheus to ask."


def reachable(inspection: Inspection) -> Outcome:
    """Send the query that the Ray Dashboard sends."""
    service = inspection.prometheus
    if inspection.has_prometheus:
        version = inspection.ask_prometheus("status/buildinfo").get("version", "of unknown version")
        return ok(f"Prometheus {version} answers at {service.url} ({service.by}).")
    why = inspection.prometheus_reply.error or "it is not a Prometheus"
    return no_answer(service, "Prometheus", why, "live pages work without it, history and alerts do not.")


def scraping(inspection: Inspection) -> Outcome:
    """Compare what Prometheus scrapes with what the cluster offers."""
    if not inspection.has_prometheus:
        return absent(_NONE)
    wanted = {host_and_port(url) for url in inspection.metrics_urls}
    if not wanted:
        return unknown("The cluster's endpoints are not known.")
    targets = inspection.ask_prometheus("targets", state="active").get("activeTargets", [])
    scraped = {host_and_port(target.get("scrapeUrl", "")): target for target in targets}
    here = host_and_port(inspection.prometheus.url).startswith("127.0.0.1:")
    known = {where: scraped[name] for where in wanted if (name := found_among(where, scraped, here)) is not None}
    lacking = sorted(wanted - set(known))
    if lacking:
        return problem(
            f"It scrapes {len(scraped)} target(s), not {_some(lacking)} of this cluster.{_other(inspection, scraped)}",
            _follow(inspection),
        )
    down = {where: target.get("lastError", "") for where, target in known.items() if target.get("health") == "down"}
    if down:
        where, why = next(iter(down.items()))
        return problem(
            f"It fails on {len(down)} of {len(wanted)} node(s), such as {where}: {why}.",
            "reach the nodes' metrics ports from where Prometheus runs (container network, firewall)",
        )
    waiting = [where for where, target in known.items() if target.get("health") != "up"]
    if waiting:
        return unknown(f"It has just found {_some(waiting)} and not scraped it yet.", "ask again in 15 s")
    return ok(f"It scrapes all {len(wanted)} endpoint(s) of this cluster.")


def _other(inspection: Inspection, scraped: dict[str, Any]) -> str:
    job = [where for where, target in scraped.items() if target.get("labels", {}).get("job") == "ray"]
    if not job or inspection.raylet is None:
        return ""
    return f" It scrapes {_some(job)} as job `ray`: another or an earlier session."


def _follow(inspection: Inspection) -> str:
    if inspection.temp_dir:
        return (
            f"raymon up --ray-temp-dir {inspection.temp_dir}; in a prometheus.yml of your own: file_sd_configs on "
            f"{inspection.temp_dir}/prom_metrics_service_discovery.json, never on one session's file"
        )
    target = host_and_port(inspection.metrics_urls[0])
    return f"raymon up --dashboard-url URL, or raymon up --target {target}, or as in docs/setup.md"


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _groups(inspection: Inspection) -> list[dict[str, Any]]:
    groups = inspection.ask_prometheus("rules").get("groups", [])
    return [group for group in groups if isinstance(group, dict)]


def rules(inspection: Inspection) -> Outcome:
    """Look for raymon's rules."""
    if not inspection.has_prometheus:
        return absent(_NONE)
    wanted = {name for names in files.rule_groups().values() for name in names}
    loaded = {rule.get("name") for group in _groups(inspection) for rule in group.get("rules", [])}
    lacking = sorted(wanted - loaded)
    if not wanted:
        return unknown("No rules come with this installation.")
    if lacking:
        share = files.share("prometheus")
        return problem(
            f"{len(lacking)} of raymon's {len(wanted)} rules are not loaded, such as {_some(lacking)}.",
            f"raymon up; in a prometheus.yml of your own: rule_files: [{share}/…], then kill -HUP its process",
        )
    return ok(f"All {len(wanted)} rules are loaded.")


def broken_rules(inspection: Inspection) -> Outcome:
    """Look for rules that Prometheus cannot evaluate."""
    if not inspection.has_prometheus:
        return absent(_NONE)
    loaded = [rule for group in _groups(inspection) for rule in group.get("rules", [])]
    broken = [rule for rule in loaded if rule.get("health") == "err"]
    if broken:
        rule = broken[0]
        return problem(
            f"{len(broken)} of {len(loaded)} rules fail, such as {rule.get('name')}: {rule.get('lastError')}.",
            "see the error; a rule of your own may match several series: promtool check rules FILE",
        )
    firing = sorted({rule["name"] for rule in loaded if rule.get("state") == "firing"})
    return ok(f"None of {len(loaded)} rules fails." + (f" Firing now: {', '.join(firing)}." if firing else ""))


CHECKS: Final = (
    Check("prometheus", "Does Prometheus answer?", reachable),
    Check("scraping", "Does it scrape this cluster?", scraping),
    Check("rules", "Are raymon's rules loaded?", rules),
    Check("broken-rules", "Do all rules evaluate?", broken_rules),
)
