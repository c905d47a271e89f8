"""The first thing read: the verdict in words, why, and what to do; then what fires."""

from raymon.format import duration
from raymon.health import TROUBLED_STATES
from raymon.html.markup import Html, tag
from raymon.html.words import headline, shape, state_badge, verdict_shape
from raymon.live.snapshot import Alert
from raymon.page.context import Context
from raymon.page.worker_table import ranked

NAMED_WORKERS = 6


def verdict(context: Context) -> Html:
    """Return the verdict line with its evidence, the advice and the workers it is about."""
    found = context.verdict
    evidence = [tag("li", sentence) for sentence in found.evidence[:4]]
    return tag(
        "section",
        tag("div", verdict_shape(found.state, found.severity), tag("span", headline(found.state)), class_="headline"),
        tag("p", found.sentence, class_="sentence"),
        tag("p", tag("b", "What to do"), " ", found.advice, class_="advice") if found.advice else None,
        tag("ul", *evidence, class_="evidence") if evidence else None,
        _troubled(context),
        tag("p", f"{headline(found.state)}.", class_="spoken", role="status", aria_live="polite"),
        class_=f"verdict severity-{found.severity}",
        aria_label=f"Verdict: {headline(found.state)}",
        data_state=found.state,
    )


def _troubled(context: Context) -> Html | None:
    """Return a button for each worker in trouble, the first few by name."""
    bad = [item for _, item in ranked(context, "trouble") if item.state in TROUBLED_STATES]
    if not bad:
        return None
    buttons = [
        tag(
            "button",
            state_badge(item.state),
            tag("span", f"worker {item.worker}"),
            type="button",
            class_="chip",
            data_set=f"worker={item.worker}",
            title=item.reason,
        )
        for item in bad[:NAMED_WORKERS]
    ]
    rest = tag("span", f"and {len(bad) - NAMED_WORKERS} more", class_="soft") if len(bad) > NAMED_WORKERS else None
    return tag("div", *buttons, rest, class_="troubled")


def firing_alerts(context: Context) -> list[Alert]:
    """Return the alerts of this run, or of no run in particular; the critical ones first."""
    found = [alert for alert in context.snapshot.alerts if alert.run in ("", context.run.run)]
    return sorted(found, key=lambda alert: alert.severity != "critical")


def alerts(context: Context) -> Html:
    """Return the section of the alerts that fire now."""
    firing = firing_alerts(context)
    where = "Prometheus" if any(a.source != "local" for a in firing) else "the same thresholds, evaluated here"
    body = (
        tag("ul", *[_alert(alert, context.elapsed) for alert in firing], class_="alerts")
        if firing
        else tag("p", shape("ok"), "No alert is firing.", class_="none")
    )
    return tag(
        "section",
        tag(
            "h2",
            "Alerts",
            tag("small", f"{len(firing)} firing" if firing else "none firing"),
            data_help=f"From {where}. Prometheus is asked where it runs; its rules and this page share their limits.",
            tabindex="0",
        ),
        body,
        class_="panel",
        data_section="alerts",
    )


def _alert(alert: Alert, elapsed: float) -> Html:
    severity = alert.severity if alert.severity in ("critical", "warning", "info") else "info"
    named = f" (worker {alert.worker})" if alert.worker and alert.source != "local" else None
    lasted = alert.active_seconds + elapsed
    since = f"for {duration(lasted)} · " if lasted >= 1 else ""
    source = "evaluated here" if alert.source == "local" else alert.source
    return tag(
        "li",
        shape(severity),
        tag("span", tag("b", alert.name), alert.summary, named),
        tag("small", since + source),
        class_=f"alert severity-{severity}",
    )
