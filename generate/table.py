"""A table panel: one row per combination of labels, one column per query, links from cells to other dashboards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from generate.colours import NEUTRAL, Steps, thresholds
from generate.panel import Json, Panel

REFS = "ABCDEFGHIJ"


@dataclass(frozen=True, slots=True)
class Table(Panel):
    """A table with a row per combination of labels and a column per query.

    Attributes:
        keys: Labels that stay columns; the other labels are hidden.
        order: Columns from left to right, by label or query title; the keys and then the queries if empty.
        hidden: Queries whose value is not shown, by title.
        renamed: Column titles for labels that do not read well.
        column_links: Links on the cells of a column.
        column_steps: Thresholds that colour the cells of a column.
        widths: Widths of columns in pixels.
        sort: The column to sort by, largest first.
    """

    keys: tuple[str, ...] = ("run", "worker")
    order: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    column_links: Mapping[str, Json] = field(default_factory=dict)
    column_steps: Mapping[str, Steps] = field(default_factory=dict)
    widths: Mapping[str, int] = field(default_factory=dict)
    sort: str = ""

    def _no_value(self) -> str:
        return ""

    def _overrides(self) -> list[Json]:
        # Labels are text with an empty text for no value: Grafana would apply the unit of the panel to labels that look
        # like numbers (worker 7 would be "7 s", in links too) and its text for no data to empty cells.
        label = [{"id": "unit", "value": "string"}, {"id": "noValue", "value": ""}]
        properties: dict[str, list[Json]] = {self.renamed.get(key, key): list(label) for key in self.keys}
        for query in self.queries:
            properties[query.title] = [{"id": "unit", "value": query.unit}, *self._coloured(query.title)]
        for column, link in self.column_links.items():
            properties[column].append({"id": "links", "value": [link]})
        for column, width in self.widths.items():
            properties[column].append({"id": "custom.width", "value": width})
        return [
            {"matcher": {"id": "byName", "options": column}, "properties": settings}
            for column, settings in properties.items()
        ]

    def _custom(self) -> Json:
        return {"align": "auto", "displayMode": "auto", "filterable": not self.widths}

    def _coloured(self, column: str) -> Sequence[Json]:
        if column not in self.column_steps:
            return ()
        steps = [(value, "transparent" if colour == NEUTRAL else colour) for value, colour in self.column_steps[column]]
        return (
            {"id": "thresholds", "value": thresholds(tuple(steps))},
            {"id": "custom.displayMode", "value": "color-background"},
        )

    def _options(self) -> Json:
        options: Json = {"cellHeight": "sm", "showHeader": True}
        return options | ({"sortBy": [{"displayName": self.sort, "desc": True}]} if self.sort else {})

    def _extra(self) -> Json:
        columns = {query.title: f"Value #{ref}" for query, ref in zip(self.queries, REFS, strict=False)}
        order = [columns.get(name, name) for name in self.order or (*self.keys, *columns)]
        renamed = {**self.renamed, **{ref: title for title, ref in columns.items()}}
        hidden = ["Time", *(columns[title] for title in self.hidden)]
        if len(self.queries) == 1:  # Grafana then names the column `Value`
            renamed["Value"] = self.queries[0].title
            hidden += ["Value"] * bool(self.hidden)
        return {
            "transformations": [
                {"id": "merge", "options": {}},
                {
                    "id": "organize",
                    "options": {
                        "excludeByName": dict.fromkeys(hidden, True),
                        "indexByName": {name: position for position, name in enumerate(order)},
                        "renameByName": renamed,
                    },
                },
            ]
        }
