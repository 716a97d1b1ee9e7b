"""An inspection as tables on a terminal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich.text import Text

from nntrainer.console import table
from nntrainer.dataset.inspection import Detail, FieldInfo, GroupInfo, Inspection

if TYPE_CHECKING:
    from rich.console import RenderableType

TYPE_WIDTH = 40
HEAD_COLUMNS = 10
VALUE_WIDTH = 60
BAR_WIDTH = 40


def render(inspection: Inspection) -> list[RenderableType]:
    """Return what is in a file as tables and lines.

    Args:
        inspection: what ``inspect`` found.

    Returns:
        Things that a rich console prints, in order.
    """
    found: list[RenderableType] = [
        Text(f"{inspection.path}: {inspection.format}, {inspection.size:,} bytes", style="bold")
    ]
    for group in inspection.groups:
        found.append(_fields(group))
        if group.head:
            found.append(_head(group))
    if not inspection.groups:
        found.append(Text("nothing to show: it has no tables"))
    if inspection.classes:
        rows = [[each.label, f"{each.events:,}", _number(each.sum_of_weights)] for each in inspection.classes]
        found.append(table("classes", ["label", ">events", ">sum of weights"], rows))
    if inspection.weights:
        weights = inspection.weights
        found.append(
            Text(
                f"weights: sum {_number(weights.sum)}, {weights.negative:,} negative "
                f"({weights.negative_fraction:.1%}), effective events {_number(weights.effective_events)}"
            )
        )
    if inspection.attrs:
        rows = [[key, _short(value)] for key, value in inspection.attrs.items()]
        found.append(table("provenance", ["attribute", "value"], rows))
    if inspection.detail:
        found += _detail(inspection.detail)
    return found


def _fields(group: GroupInfo) -> RenderableType:
    title = f"{group.name}: {group.kind}, {group.entries:,} entries"
    if group.slots is not None:
        title += f" × {group.slots} slots"
    if group.scanned < group.entries:
        title += f"; values of the first {group.scanned:,}"
    optional = {
        "unit": any(each.unit for each in group.fields),
        ">valid": any(each.valid is not None for each in group.fields),
        "description": any(each.description for each in group.fields),
    }
    columns = [
        "field",
        "type",
        "unit",
        ">values",
        ">min",
        ">max",
        ">mean",
        ">NaN",
        ">inf",
        ">valid",
        "description",
    ]
    shown = [index for index, column in enumerate(columns) if optional.get(column, True)]
    rows = [_row(each) for each in group.fields]
    return table(title, [columns[i] for i in shown], [[row[i] for i in shown] for row in rows])


def _row(field: FieldInfo) -> list[str]:
    kind = field.type if len(field.type) <= TYPE_WIDTH else field.type[: TYPE_WIDTH - 1] + "…"
    if field.note:
        return [field.name, kind, field.unit, *[""] * 7, field.note]
    return [
        field.name,
        kind,
        field.unit,
        f"{field.count:,}",
        _number(field.min),
        _number(field.max),
        _number(field.mean),
        f"{field.nan:,}" if field.nan else "",
        f"{field.inf:,}" if field.inf else "",
        f"{field.valid:.1%}" if field.valid is not None else "",
        field.description,
    ]


def _head(group: GroupInfo) -> RenderableType:
    names = list(group.head[0])
    more = f"; {len(names) - HEAD_COLUMNS} more columns in --json" if len(names) > HEAD_COLUMNS else ""
    names = names[:HEAD_COLUMNS]
    rows = [[str(i), *(_short(row[name]) for name in names)] for i, row in enumerate(group.head)]
    return table(f"{group.name}: first rows{more}", [">row", *(f">{name}" for name in names)], rows)


def _detail(detail: Detail) -> list[RenderableType]:
    unit = f" [{detail.unit}]" if detail.unit else ""
    exact = "" if detail.quantile_values == detail.count else f" of a sample of {detail.quantile_values:,}"
    top = max(detail.counts, default=0) or 1
    bins = zip(detail.edges, detail.edges[1:], detail.counts, strict=False)
    return [
        Text(
            f"{detail.group}.{detail.name}{unit}: {detail.count:,} values, mean {_number(detail.mean)}, "
            f"standard deviation {_number(detail.std)}"
        ),
        table(
            f"quantiles{exact}",
            [f">{float(q):.0%}" for q in detail.quantiles],
            [[_number(value) for value in detail.quantiles.values()]] if detail.quantiles else [],
        ),
        table(
            "histogram",
            [">from", ">to", ">entries", ""],
            [
                [_number(low), _number(high), f"{count:,}", "█" * round(BAR_WIDTH * count / top)]
                for low, high, count in bins
            ],
        ),
    ]


def _number(value: float | int | None) -> str:
    if value is None:
        return "–"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, list) and all(isinstance(item, int | float) for item in value):
        text = "[" + ", ".join(_number(item) for item in value) + "]"
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= VALUE_WIDTH else text[: VALUE_WIDTH - 1] + "…"
