"""A table panel: a row per combination of labels, a column per query, links from cells to the next dashboard."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from generate.panel import Json, Panel

REFS = "ABCDEFGHIJ"


@dataclass(frozen=True, slots=True)
class Table(Panel):
    """A table with a row per combination of labels and a column per query.

    Attributes:
        keys: Labels that stay columns, first to last; the other labels are hidden.
        hidden: Labels to leave out.
        column_links: From a column to a link on its cells.
        sort: The column to sort by, largest first.
    """

    keys: tuple[str, ...] = ("run", "worker")
    hidden: tuple[str, ...] = ()
    column_links: Mapping[str, Json] = field(default_factory=dict)
    column_steps: Mapping[str, tuple[tuple[float | None, str], ...]] = field(default_factory=dict)
    sort: str = ""

    def _overrides(self) -> list[Json]:
        overrides: list[Json] = [
            {
                "matcher": {"id": "byName", "options": query.title},
                "properties": [{"id": "unit", "value": query.unit}, *self._coloured(query.title)],
            }
            for query in self.queries
        ]
        # The panel's own unit is that of its first query, and Grafana puts it on labels that look like numbers too:
        # worker 7 would read "7 s", and so would the links made from it.
        overrides += [
            {"matcher": {"id": "byName", "options": key}, "properties": [{"id": "unit", "value": "string"}]}
            for key in self.keys
        ]
        overrides += [
            {"matcher": {"id": "byName", "options": column}, "properties": [{"id": "links", "value": [link]}]}
            for column, link in self.column_links.items()
        ]
        return overrides

    def _custom(self) -> Json:
        return {"align": "auto", "displayMode": "auto", "filterable": True}

    def _coloured(self, column: str) -> Sequence[Json]:
        if column not in self.column_steps:
            return ()
        steps = [{"color": colour, "value": value} for value, colour in self.column_steps[column]]
        return (
            {"id": "thresholds", "value": {"mode": "absolute", "steps": steps}},
            {"id": "custom.displayMode", "value": "color-text"},
        )

    def _options(self) -> Json:
        options: Json = {"cellHeight": "sm", "showHeader": True}
        return options | ({"sortBy": [{"displayName": self.sort, "desc": True}]} if self.sort else {})

    def _extra(self) -> Json:
        values = {f"Value #{ref}": query.title for query, ref in zip(self.queries, REFS, strict=False)}
        order = {name: position for position, name in enumerate((*self.keys, *values))}
        if len(values) == 1:
            values["Value"] = self.queries[0].title
        hidden = dict.fromkeys(("Time", *self.hidden), True)
        return {
            "transformations": [
                {"id": "merge", "options": {}},
                {
                    "id": "organize",
                    "options": {"excludeByName": hidden, "indexByName": order, "renameByName": values},
                },
            ]
        }
