"""Questions about a parsed PromQL expression: which selectors, which calls over which window, what is aggregated."""

import promql_parser as promql

RATES = ("rate", "irate", "increase")


def children(node):
    """Yield the expressions directly inside one."""
    if isinstance(node, promql.Call):
        yield from node.args
    elif isinstance(node, promql.BinaryExpr):
        yield from (node.lhs, node.rhs)
    elif isinstance(node, promql.MatrixSelector):
        yield node.selector if hasattr(node, "selector") else node.vector_selector
    elif isinstance(node, (promql.AggregateExpr, promql.ParenExpr, promql.UnaryExpr, promql.SubqueryExpr)):
        yield node.expr


def walk(node, inside=()):
    """Yield every node with the nodes it is inside of, outermost first."""
    yield node, inside
    for child in children(node):
        yield from walk(child, (*inside, node))


def selectors_of(tree, outside_aggregations=False):
    """Return the vector selectors; on request those that no aggregation is around."""
    return [
        node
        for node, inside in walk(tree)
        if isinstance(node, promql.VectorSelector)
        and not (outside_aggregations and any(isinstance(outer, promql.AggregateExpr) for outer in inside))
    ]


def metrics_of(expression):
    """Return the names of the families an expression reads."""
    return {selector.name for selector in selectors_of(promql.parse(expression))}


def calls_of(tree):
    """Yield function and window of every call over a range."""
    for node, _ in walk(tree):
        if isinstance(node, promql.Call):
            for argument in node.args:
                if isinstance(argument, promql.MatrixSelector):
                    yield node.func.name, promql.display_duration(argument.range)


def bare_counters(tree):
    """Return the counters that stand outside rate and increase, and whose series are not only counted."""
    return {
        node.name
        for node, inside in walk(tree)
        if isinstance(node, promql.VectorSelector)
        and node.name.endswith(("_total", "_bucket"))
        and not any(isinstance(outer, promql.Call) and outer.func.name in RATES for outer in inside)
        and not any(isinstance(outer, promql.AggregateExpr) and str(outer.op) == "count" for outer in inside)
    }


def stored_names(metric):
    if metric.kind != "histogram":
        return {metric.name}
    return {f"{metric.name}_{suffix}" for suffix in ("bucket", "count", "sum")}
