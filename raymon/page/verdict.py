"""The first thing to read: the verdict in words, why, and what to do; then the alerts that fire."""

from raymon.format import duration
from raymon.health import TROUBLED_STATES, Finding, WorkerVerdict
from raymon.html.markup import Html, tag, with_code, without_code
from raymon.html.parts import panel, verdict_box
from raymon.html.words import headline, shape, state_badge
from raymon.live.snapshot import FiringAlert
from raymon.page.context import Context
from raymon.page.worker_table import sorted_workers

SHOWN_WORKERS = 6
SHOWN_FINDINGS = 5


def verdict(context: Context) -> Html:
    """Return the verdict with its advice, the further findings and the workers in trouble."""
    first, *others = context.verdict.findings
    head = headline(first.code)
    return verdict_box(
        first.code,
        first.severity,
        first.sentence,
        first.advice,
        [_finding(finding) for finding in others[:SHOWN_FINDINGS]],
        _troubled_workers(context),
        tag("p", f"{head}.", class_="spoken", role="status", aria_live="polite"),
        aria_label=f"Verdict: {head}",
        data_state=first.code,
    )


def _finding(finding: Finding) -> Html:
    return tag(
        "li",
        shape(finding.severity if finding.severity != "ok" else "info"),
        tag(
            "span",
            with_code(finding.sentence),
            tag("small", " ", with_code(finding.advice)) if finding.advice else None,
        ),
        class_=f"severity-{finding.severity}",
        data_code=finding.code,
    )


def _troubled_workers(context: Context) -> Html | None:
    """Return a button for each worker in trouble, the first few by name."""
    troubled = context.facts.once("troubled", lambda: _troubled(context))
    if not troubled:
        return None
    buttons = [
        tag(
            "button",
            state_badge(item.state),
            tag("span", f"worker {item.worker}"),
            type="button",
            class_="chip",
            data_set=f"worker={item.worker}",
            title=without_code(item.reason),
        )
        for item in troubled[:SHOWN_WORKERS]
    ]
    surplus = len(troubled) - SHOWN_WORKERS
    rest = tag("span", f"and {surplus} more", class_="soft") if surplus > 0 else None
    return tag("div", *buttons, rest, class_="troubled")


def _troubled(context: Context) -> list[WorkerVerdict]:
    return [item for _, item in sorted_workers(context, "trouble") if item.state in TROUBLED_STATES]


def firing_alerts(context: Context) -> list[FiringAlert]:
    """Return the alerts of this run, and those of no run in particular; the critical ones first."""
    alerts = [alert for alert in context.snapshot.alerts if alert.run in ("", context.run.run)]
    return sorted(alerts, key=lambda alert: alert.severity != "critical")


def alerts(context: Context) -> Html:
    """Return the section of the alerts that fire now."""
    firing = firing_alerts(context)
    source = "Prometheus" if any(alert.source != "local" for alert in firing) else "the same thresholds, evaluated here"
    body = (
        tag("ul", *[_alert(alert, context.elapsed) for alert in firing], class_="alerts")
        if firing
        else tag("p", shape("ok"), "No alert is firing.", class_="none")
    )
    small = f"{len(firing)} firing" if firing else "none firing"
    meaning = f"From {source}. The rules of Prometheus and this page have the same limits."
    return panel("Alerts", small, body, section="alerts", meaning=meaning)


def _alert(alert: FiringAlert, elapsed: float) -> Html:
    severity = alert.severity if alert.severity in ("critical", "warning", "info") else "info"
    worker = f" (worker {alert.worker})" if alert.worker and alert.source != "local" else None
    active = alert.active_seconds + elapsed
    since = f"for {duration(active)} · " if active >= 1 else ""
    source = "evaluated here" if alert.source == "local" else alert.source
    return tag(
        "li",
        shape(severity),
        tag("span", tag("b", alert.name), with_code(alert.summary), worker),
        tag("small", since + source),
        class_=f"alert severity-{severity}",
    )
