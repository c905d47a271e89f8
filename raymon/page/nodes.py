"""The nodes of the cluster: which do not answer or are short of something, and which workers run on them."""

from raymon.format import UNKNOWN, count, listing, share, size
from raymon.html.age import age_ago
from raymon.html.markup import Html, tag
from raymon.html.words import node_trouble, shape
from raymon.page.context import Context
from raymon.views import NodeView

SHOWN_NODES = 8


def nodes(context: Context) -> Html | None:
    """Return the section, those in trouble first; None for a single node that is well."""
    views = context.run.nodes
    elapsed = 0.0 if context.ended else context.elapsed
    rows = sorted(((node, node_trouble(node, elapsed)) for node in views), key=lambda row: not row[1])
    troubled = sum(1 for _, trouble in rows if trouble)
    if len(views) < 2 and not troubled:
        return None
    shown = rows[: max(SHOWN_NODES, troubled)]
    rest = len(rows) - len(shown)
    head = ("Node", "State", "Workers", "CPU", "Memory", "Disk free", "Answered")
    table = tag(
        "table",
        tag("thead", tag("tr", *[tag("th", title, scope="col") for title in head])),
        tag("tbody", *[_row(context, node, trouble) for node, trouble in shown]),
    )
    return tag(
        "section",
        tag(
            "h2", "Nodes", tag("small", f"{troubled} of {len(views)} in trouble" if troubled else f"{len(views)} well")
        ),
        tag("div", table, class_="scroll", tabindex="0", role="region", aria_label="Table of nodes"),
        tag("p", f"{count(rest)} more nodes are well.", class_="soft") if rest else None,
        class_="panel nodes",
        data_section="nodes",
    )


def _row(context: Context, node: NodeView, trouble: str) -> Html:
    state = "stalled" if trouble else "running"
    silent = node.silent_seconds
    answered = context.age(silent) if silent else silent
    ratio = (
        node.memory_used_bytes / node.memory_total_bytes if node.memory_total_bytes and node.memory_used_bytes else None
    )
    workers = listing((*(("driver",) if node.driver else ()), *node.workers), most=8)
    cells = (
        ("Node", tag("b", node.address or node.url)),
        ("State", tag("span", shape(state), trouble or "answers", class_=f"state is-{state}")),
        ("Workers", workers or UNKNOWN),
        ("CPU", share(node.cpu_ratio)),
        ("Memory", f"{share(ratio)} of {size(node.memory_total_bytes)}" if ratio is not None else UNKNOWN),
        ("Disk free", size(node.disk_free_bytes)),
        ("Answered", "never" if silent is None else age_ago(answered)),
    )
    return tag(
        "tr", *[tag("td", body, data_name=name) for name, body in cells], class_=f"is-{state}", data_key=node.url
    )
