"""The nodes of the cluster: which do not answer or are short of something, and which workers run on them."""

from raymon.format import UNKNOWN, count, listing, share, size
from raymon.html.age import age_ago
from raymon.html.markup import Html, tag
from raymon.html.parts import panel
from raymon.html.words import node_trouble, shape
from raymon.page.context import Context
from raymon.views import NodeView

SHOWN_NODES = 8
_TITLES = ("Node", "State", "Runs", "CPU", "Memory", "Disk free", "Answered")


def nodes(context: Context) -> Html | None:
    """Return the section, nodes in trouble first; None for a single node that is well."""
    views = context.run.nodes
    elapsed = 0.0 if context.ended else context.elapsed
    rows = sorted(((node, node_trouble(node, elapsed)) for node in views), key=lambda row: not row[1])
    troubled = sum(1 for _, trouble in rows if trouble)
    if len(views) < 2 and not troubled:
        return None
    shown = rows[: max(SHOWN_NODES, troubled)]
    rest = len(rows) - len(shown)
    summary = f"{troubled} of {len(views)} in trouble" if troubled else f"all {len(views)} are well"
    table = tag(
        "table",
        tag("thead", tag("tr", *[tag("th", title, scope="col") for title in _TITLES])),
        tag("tbody", *[_row(context, node, trouble) for node, trouble in shown]),
    )
    return panel(
        "Nodes",
        summary,
        tag("div", table, class_="scroll", tabindex="0", role="region", aria_label="Table of nodes"),
        tag("p", f"{count(rest)} more nodes are well.", class_="soft") if rest else None,
        css="panel nodes",
        section="nodes",
    )


def _row(context: Context, node: NodeView, trouble: str) -> Html:
    state = "stalled" if trouble else "running"
    silent, total, used = node.silent_seconds, node.memory_total_bytes, node.memory_used_bytes
    processes = ("driver", *node.workers) if node.driver else node.workers
    cells = (
        tag("b", node.address or node.url),
        tag("span", shape(state), trouble or "answers", class_=f"state is-{state}"),
        listing(processes, most=8) or UNKNOWN,
        share(node.cpu_ratio),
        f"{share(used / total)} of {size(total)}" if total and used is not None else UNKNOWN,
        size(node.disk_free_bytes),
        "never" if silent is None else age_ago(context.age(silent) if silent else silent),
    )
    row = [tag("td", cell, data_name=title) for title, cell in zip(_TITLES, cells, strict=True)]
    return tag("tr", *row, class_=f"is-{state}", data_key=node.url)
