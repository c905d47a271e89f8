"""What flows while a language model is trained: tokens, lengths and their tail, learning signal, buffer, weights."""

from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from raymon.catalog import ROLES
from raymon.format import count, duration, plain, position, share, size
from raymon.health.shares import of_language_model
from raymon.html.chart import Format, Line, chart
from raymon.html.markup import Html, tag
from raymon.html.parts import fact, panel
from raymon.page.context import Context


class Curve(NamedTuple):
    """One chart: its title, the series of the history by the name of their line, its format, and its meaning."""

    title: str
    series: tuple[tuple[str, str], ...]
    format: Format
    meaning: str


CURVES: Final = (
    Curve(
        "Tokens per second",
        (("responses", "tokens_out"), ("prompts", "tokens_in")),
        count,
        "Tokens of responses and of prompts, of all workers, over the last seconds.",
    ),
    Curve(
        "Response length",
        (("p50", "response_length_p50"), ("p99", "response_length_p99")),
        count,
        "Median and 99th percentile, in tokens, of the last minute; the longest among the workers.",
    ),
    Curve(
        "Time on the last responses",
        (("tail", "tail_ratio"),),
        share,
        "Share of the generation for which only the last 3 % of the responses of a batch were running.",
    ),
    Curve(
        "Groups without a signal",
        (("groups", "no_signal_ratio"),),
        share,
        "Share of the groups of responses to one prompt whose rewards are all equal: they train nothing.",
    ),
    Curve("Samples in the buffer", (("samples", "buffer_depth"),), count, "Samples that wait to be trained on."),
    Curve(
        "Weight synchronization",
        (("duration", "weight_sync_seconds"),),
        duration,
        "Mean duration of sending the weights to the rollout workers.",
    ),
)


def language_model(context: Context) -> Html | None:
    """Return the section on the language model; None where none is trained, and before anything is known of it."""
    if not of_language_model(context.run):
        return None
    facts = list(_facts(context))
    charts = [_chart(context, curve) for curve in CURVES if _known(context, curve)]
    if not facts and not charts:
        if not context.run.updates_per_second:
            return None
        note = "No tokens, groups or buffer are recorded: see Monitor.responses, groups, buffer and weights_synced."
        charts = [tag("p", note, class_="none")]
    return panel(
        "Language model",
        _roles(context),
        tag("dl", *facts, class_="facts") if facts else None,
        tag("div", *charts, class_="charts wide"),
        section="language",
    )


def _roles(context: Context) -> str:
    """Return how many workers have each role, as in `2 rollout · 1 reward · 1 trainer`."""
    numbers = Counter(worker.role for worker in context.run.workers)
    return " · ".join(f"{numbers[role]} {role}" for role in ROLES if numbers[role])


def _known(context: Context, curve: Curve) -> bool:
    return any(np.isfinite(context.series(series)[1]).any() for _, series in curve.series)


def _chart(context: Context, curve: Curve) -> Html:
    lines = [
        Line(name, *context.series(series), style) for (name, series), style in zip(curve.series, "ab", strict=False)
    ]
    return chart(
        curve.title,
        lines,
        domain=context.domain,
        format_y=curve.format,
        format_x=position,
        meaning=curve.meaning,
        named=len(lines) > 1,
    )


def _facts(context: Context) -> Iterator[Html]:
    """Yield the figures that are known and are no chart's last value, each with its meaning."""
    run, flow = context.run, context.run.flow
    ended = sum(flow.responses_per_second.values())
    if ended:
        yield fact("Responses", f"{count(ended)}/s", "Responses that ended, of all workers, per second.")
        for end, meaning in (("truncated", "ended at the length limit"), ("aborted", "were given up")):
            ratio = share(flow.responses_per_second.get(end, 0.0) / ended)
            yield fact(end.capitalize(), ratio, f"Share of the responses that {meaning}.")
    if run.policy_lag_mean is not None:
        worst = f", at most {plain(run.policy_lag_max)}" if run.policy_lag_max is not None else ""
        meaning = "How many updates older than the policy the weights were that the last batch came from: mean, worst."
        yield fact("Updates behind", f"{plain(run.policy_lag_mean)}{worst}", meaning)
    if flow.buffer_depth is not None:
        room = f" of {count(flow.buffer_capacity)}" if flow.buffer_capacity else ""
        yield fact(
            "Buffer", f"{count(flow.buffer_depth)}{room}", "Samples that wait to be trained on, of how many fit."
        )
    if (age := context.age(flow.buffer_oldest_age_seconds)) is not None:
        yield fact("Oldest sample", duration(age), "Since the oldest sample in the buffer was generated.")
    if flow.weight_sync_bytes:
        yield fact("Weights", size(flow.weight_sync_bytes), "Mean size of a synchronization of weights.")
    if flow.first_token_seconds is not None:
        meaning = "95th percentile of the time from a request to the first token, of the cluster's inference engines."
        yield fact("First token", duration(flow.first_token_seconds), meaning)
    if flow.cache_used_ratio is not None:
        meaning = "Largest share of the key-value cache in use of any of the cluster's inference engines."
        yield fact("Cache in use", share(flow.cache_used_ratio), meaning)
    if flow.updates_since_sync is not None:
        meaning = "Updates of the policy since weights were last synchronized."
        yield fact("Since sync", f"{plain(flow.updates_since_sync)} updates", meaning)
