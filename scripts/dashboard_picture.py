"""Draws a dashboard of monitoring/grafana: runs every query of its file against Prometheus and Postgres, and makes a page.

    python3 scripts/dashboard_picture.py DASHBOARD.json PROMETHEUS_URL POSTGRES_URL MINUTES_OF_METRICS PAGE.html

It stands in for Grafana, which no package registry has: panels, queries, units, colours and places are those of the file, and
the drawing is this program's. A query that fails ends it. It prints the size of the page, for the browser's window.
"""

import html
import json
import math
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from datetime import datetime, timezone

WIDTH = 1400
# As Grafana has them.
ROW, GAP, COLUMNS = 30, 8, 24
PALETTE = ["#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#7055b5", "#37872d", "#fade2a", "#447ebc", "#c15c17"]
COLOURS = {"green": "#73bf69", "yellow": "#fade2a", "orange": "#ff9830", "red": "#f2495c", "blue": "#5794f2", "purple": "#b877d9", "text": "#ccccdc"}
# How far apart two scrapes are, at most.
RATE_INTERVAL = "1m"
STYLE = """
* { box-sizing: border-box; margin: 0 }
body { background: #111217; color: #ccccdc; font: 12px Inter, 'DejaVu Sans', sans-serif; width: %dpx; position: relative }
h1 { font-size: 18px; font-weight: 500; padding: 14px 12px 2px } .about { padding: 0 12px 10px; color: #9fa1ab }
.panel { position: absolute; background: #181b1f; border: 1px solid #25272e; border-radius: 3px; overflow: hidden }
.panel h2 { font-size: 13px; font-weight: 500; padding: 7px 10px 4px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis }
.row { position: absolute; font-size: 14px; font-weight: 500; padding: 5px 10px; color: #ccccdc } .row::before { content: '⌄ '; color: #9fa1ab }
.stat { position: absolute; inset: 30px 0 0 0; display: grid; place-items: center; font-size: 34px; font-weight: 500 }
.spark { position: absolute; inset: auto 0 0 0 } .none { display: grid; place-items: center; height: 70%%; color: #9fa1ab; font-size: 13px }
.legend { padding: 0 10px; font-size: 11px; line-height: 15px; max-height: 60px; overflow: hidden }
.legend i { display: inline-block; width: 12px; height: 3px; margin: 0 5px 3px 0; border-radius: 2px } .legend span { margin-right: 12px; display: inline-block }
svg text { fill: #9fa1ab; font-size: 10.5px } table { width: 100%%; border-collapse: collapse; table-layout: auto; font-size: 12px }
th, td { text-align: left; padding: 4px 7px; white-space: nowrap; border-bottom: 1px solid #25272e; max-width: 240px; overflow: hidden; text-overflow: ellipsis }
th { color: #6e9fff; font-weight: 500 } .number { text-align: right; font-variant-numeric: tabular-nums }
.bar { display: grid; grid-template-columns: 190px 1fr 52px; gap: 8px; align-items: center; padding: 2px 10px; height: 20px }
.bar b { font-weight: 400; white-space: nowrap; overflow: hidden; text-overflow: ellipsis } .bar div { background: #22252b; height: 14px } .bar div div { background: var(--c) }
.foot { position: absolute; left: 12px; color: #9fa1ab }
"""


def number(value: float, digits: int = 3) -> str:
    """`0.123`, `12.3`, `1234`, without zeros at the end."""
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:.{min(decimals, 6)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def scaled(value: float, steps: list, digits: int = 3) -> str:
    """With the largest unit that leaves something before the point; each step is how many of the last it holds."""
    unit = steps[0][0]
    for name, factor in steps[1:]:
        if abs(value) < factor:
            break
        value, unit = value / factor, name
    return f"{number(value, digits)}{unit}"


def formatted(value, unit: str, decimals=None, digits: int = 3) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if unit == "dateTimeAsIso":
        return datetime.fromisoformat(str(value)).astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
    if not isinstance(value, (int, float)):
        return str(value)
    if decimals is not None and unit in ("short", "percentunit"):
        return f"{value * 100:.{decimals}f}%" if unit == "percentunit" else f"{value:.{decimals}f}"
    if unit == "s":
        if value and abs(value) < 0.001:
            return f"{number(value * 1e6, digits)} µs"
        if value and abs(value) < 1:
            return f"{number(value * 1000, digits)} ms"
        return scaled(value, [(" s", 1), (" min", 60), (" h", 60), (" days", 24)], digits)
    if unit == "percentunit":
        return f"{number(value * 100, digits)}%"
    if unit in ("bytes", "mbytes"):
        names = [" B", " KiB", " MiB", " GiB", " TiB"][0 if unit == "bytes" else 2 :]
        return scaled(value, [(names[0], 1)] + [(name, 1024) for name in names[1:]], digits)
    end = {"ops": " ops/s", "reqps": " req/s"}.get(unit, "")
    return scaled(value, [("", 1), (" K", 1000), (" Mil", 1000)], digits) + end


def colour_at(steps: list, value) -> str:
    chosen = steps[0]["color"]
    for step in steps[1:]:
        if value is not None and value >= step["value"]:
            chosen = step["color"]
    return COLOURS[chosen]


def seconds(relative: str) -> float:
    amount, unit = re.fullmatch(r"(?:now-)?(\d+)([mhd])", relative).groups()
    return int(amount) * {"m": 60, "h": 3600, "d": 86400}[unit]


class Sources:
    """Where the queries run."""

    def __init__(self, prometheus: str, postgres: str, minutes: float, period: float, now: float):
        self.prometheus, self.postgres, self.metrics_for, self.period, self.now = prometheus, postgres, minutes * 60, period, now

    def metrics(self, target: dict) -> list:
        """Each series: its name, and its points."""
        step = max(5, self.metrics_for // 240)
        expression = target["expr"].replace("$__rate_interval", RATE_INTERVAL)
        query = urllib.parse.urlencode({"query": expression, "start": self.now - self.metrics_for, "end": self.now, "step": step})
        with urllib.request.urlopen(f"{self.prometheus}/api/v1/query_range?{query}") as answer:
            found = json.load(answer)["data"]["result"]
        series = []
        for one in found:
            name = re.sub(r"{{(\w+)}}", lambda label: one["metric"].get(label[1], ""), target["legendFormat"]).strip()
            points = [(float(at), float(value)) for at, value in one["values"]]
            series.append((name or target["legendFormat"], [point for point in points if math.isfinite(point[1])]))
        return sorted([one for one in series if one[1]], key=lambda one: one[0])

    def rows(self, target: dict) -> list:
        """Each row: its columns by their names, in their order."""
        between = f"BETWEEN to_timestamp({self.now - self.period}) AND to_timestamp({self.now})"
        sql = re.sub(r"\$__timeFilter\(([^)]*)\)", rf"\1 {between}", target["rawSql"])
        statement = f"SELECT coalesce(json_agg(found), '[]') FROM ({sql}) found"
        command = ["psql", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", self.postgres, "-c", statement]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    def series(self, target: dict) -> list:
        if "expr" in target:
            return self.metrics(target)
        by_metric = {}
        for row in self.rows(target):
            at = datetime.fromisoformat(row["time"]).timestamp()
            by_metric.setdefault(row["metric"], []).append((at, row["value"]))
        return list(by_metric.items())


def nice_ticks(low: float, high: float, unit: str, count: int = 4) -> list:
    if unit == "bytes" and high > 1024:
        size = 1024 ** int(math.log(high, 1024))
        return [tick * size for tick in nice_ticks(low / size, high / size, "short", count)]
    raw = (high - low) / count or 1
    power = 10 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [step * index for index in range(first, int(math.floor(high / step + 1e-6)) + 1)]


def spans(points: list, gap: float) -> list:
    """Points without a hole between them."""
    parts = [[]]
    for point in points:
        if parts[-1] and point[0] - parts[-1][-1][0] > gap:
            parts.append([])
        parts[-1].append(point)
    return parts


def override(panel: dict, name: str, wanted: str):
    for rule in panel["fieldConfig"]["overrides"]:
        if rule["matcher"]["options"] == name:
            for item in rule["properties"]:
                if item["id"] == wanted:
                    return item["value"]
    return None


def graph(panel: dict, series: list, width: int, height: int, begin: float, end: float) -> str:
    # As many lines as the legend needs; its letters are some 6 pixels wide.
    height -= 7 + 15 * min(4, math.ceil(sum(len(name) * 6.6 + 32 for name, _ in series) / (width - 60)))
    defaults = panel["fieldConfig"]["defaults"]
    custom = defaults["custom"]
    if not series:
        return '<p class="none">No data</p>'
    stacked, bars = custom["stacking"]["mode"] == "normal", custom["drawStyle"] == "bars"
    on_the_right = {name: override(panel, name, "unit") for name, _ in series if override(panel, name, "custom.axisPlacement") == "right"}
    left, right, top, bottom = 62, 68 if on_the_right else 14, 8, 20
    inner_width, inner_height = width - left - right, height - top - bottom
    at_x = lambda at: left + (at - begin) / (end - begin) * inner_width

    def scale(names: list, unit: str):
        if stacked:
            sums = {}
            for name, points in series:
                for at, value in points:
                    sums[at] = sums.get(at, 0) + value
            highest = max(sums.values(), default=0)
        else:
            highest = max((value for name, points in series if name in names for _, value in points), default=0)
        low = defaults.get("min", 0)
        high = defaults.get("max") or (highest * 1.08 if highest > low else low + (0.005 if unit == "s" else 1))
        return low, high, lambda value: top + inner_height - (min(max(value, low), high) - low) / (high - low) * inner_height

    parts = []
    low, high, at_y = scale([name for name, _ in series if name not in on_the_right], defaults["unit"])
    for tick in nice_ticks(low, high, defaults["unit"]):
        parts.append(f'<line x1="{left}" x2="{width - right}" y1="{at_y(tick):.1f}" y2="{at_y(tick):.1f}" stroke="#2a2d33"/>')
        parts.append(f'<text x="{left - 6}" y="{at_y(tick) + 3.5:.1f}" text-anchor="end">{formatted(tick, defaults["unit"])}</text>')
    if on_the_right:
        unit = next(iter(on_the_right.values()))
        right_low, right_high, right_y = scale(list(on_the_right), unit)
        for tick in nice_ticks(right_low, right_high, unit):
            parts.append(f'<text x="{width - right + 6}" y="{right_y(tick) + 3.5:.1f}">{formatted(tick, unit)}</text>')
    days = end - begin > 2 * 86400
    every = 86400 * max(1, round((end - begin) / 86400 / max(2, width / 95))) if days else max(60, round((end - begin) / max(2, width / 95) / 60) * 60)
    at = math.ceil(begin / every) * every
    while at < end:
        shown = datetime.fromtimestamp(at, timezone.utc).strftime("%m/%d" if days else "%H:%M")
        parts.append(f'<text x="{at_x(at):.1f}" y="{height - 5}" text-anchor="middle">{shown}</text>')
        at += every
    floor, legend = {}, []
    bar_width = max(2, inner_width / max(1, (end - begin) / 86400) * 0.8)
    for index, (name, points) in enumerate(series):
        fixed = override(panel, name, "color")
        colour = COLOURS[fixed["fixedColor"]] if fixed else PALETTE[index % len(PALETTE)]
        y_of = right_y if name in on_the_right else at_y
        legend.append(f'<span><i style="background:{colour}"></i>{html.escape(name)}</span>')
        if bars:
            for at, value in points:
                base = floor.get(at, 0) if stacked else 0
                # A day begins at its bar's left end, and the first may have begun before the picture does.
                x = max(left, at_x(at))
                until = min(at_x(at) + bar_width, width - right)
                parts.append(
                    f'<rect x="{x:.1f}" y="{y_of(base + value):.1f}" width="{max(0, until - x):.1f}" '
                    f'height="{max(0, y_of(base) - y_of(base + value)):.1f}" fill="{colour}" fill-opacity="0.75"/>'
                )
                floor[at] = base + value
            continue
        step = min((b[0] - a[0] for a, b in zip(points, points[1:])), default=1)
        for part in spans([point for point in points if point[0] >= begin], step * 2.5):
            tops = [(at_x(at), y_of(value + (floor.get(at, 0) if stacked else 0))) for at, value in part]
            bases = [(at_x(at), y_of(floor.get(at, 0) if stacked else low)) for at, _ in part]
            line = " ".join(f"{x:.1f},{y:.1f}" for x, y in tops)
            area = line + " " + " ".join(f"{x:.1f},{y:.1f}" for x, y in reversed(bases))
            parts.append(f'<polygon points="{area}" fill="{colour}" fill-opacity="{custom["fillOpacity"] / 100}"/>')
            parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.3"/>')
        if stacked:
            for at, value in points:
                floor[at] = floor.get(at, 0) + value
    return f'<svg width="{width}" height="{height}">{"".join(parts)}</svg><p class="legend">{"".join(legend)}</p>'


def stat(panel: dict, sources: Sources, width: int) -> str:
    defaults, target = panel["fieldConfig"]["defaults"], panel["targets"][0]
    spark = ""
    if "expr" in target:
        points = next((points for _, points in sources.metrics(target)), [])
        value = points[-1][1] if points else None
        colour = colour_at(defaults["thresholds"]["steps"], value)
        if panel["options"]["graphMode"] == "area" and len(points) > 1:
            highest = max(value for _, value in points) or 1
            first, last = points[0][0], points[-1][0]
            line = " ".join(f"{(at - first) / (last - first) * width:.1f},{36 - value / highest * 32:.1f}" for at, value in points)
            spark = f'<svg class="spark" width="{width}" height="38"><polygon points="{line} {width},38 0,38" fill="{colour}" fill-opacity="0.18"/><polyline points="{line}" fill="none" stroke="{colour}" stroke-opacity="0.6"/></svg>'
    else:
        rows = sources.rows(target)
        value = next(iter(rows[0].values())) if rows else None
        colour = colour_at(defaults["thresholds"]["steps"], value)
    shown = formatted(value, defaults["unit"], defaults.get("decimals"))
    return f'{spark}<p class="stat" style="color:{colour}">{shown}</p>'


def table(panel: dict, rows: list, height: int) -> str:
    if not rows:
        return '<p class="none">No data</p>'
    defaults = panel["fieldConfig"]["defaults"]
    numeric = {name for name in rows[0] if any(isinstance(row[name], (int, float)) and not isinstance(row[name], bool) for row in rows)}
    cells = lambda name: ' class="number"' if name in numeric else ""
    lines = ["<tr>" + "".join(f"<th{cells(name)}>{html.escape(name)}</th>" for name in rows[0]) + "</tr>"]
    for row in rows[: max(1, (height - 26) // 25)]:
        line = ""
        for name, value in row.items():
            mappings = override(panel, name, "mappings") or []
            mapped = next((mapping["options"][str(value)] for mapping in mappings if str(value) in mapping["options"]), None)
            shown = mapped["text"] if mapped else formatted(value, override(panel, name, "unit") or defaults["unit"])
            style = f' style="color:{COLOURS[mapped["color"]]}"' if mapped else ""
            line += f"<td{cells(name)}{style}>{html.escape(shown)}</td>"
        lines.append(f"<tr>{line}</tr>")
    return f'<table>{"".join(lines)}</table>'


def bar_gauge(panel: dict, rows: list, height: int) -> str:
    defaults = panel["fieldConfig"]["defaults"]
    lines = []
    for row in rows[: height // 20]:
        name, value = row.values()
        share = 0 if value is None else min(1, value / defaults["max"]) * 100
        colour = colour_at(defaults["thresholds"]["steps"], value)
        shown = formatted(value, defaults["unit"])
        lines.append(f'<div class="bar" style="--c:{colour}"><b>{html.escape(str(name))}</b><div><div style="width:{share:.1f}%"></div></div><b style="color:{colour}">{shown}</b></div>')
    return "".join(lines) or '<p class="none">No data</p>'


def main() -> None:
    file, prometheus, postgres, minutes, page = sys.argv[1:]
    with open(file, encoding="utf-8") as text:
        board = json.load(text)
    now = time.time()
    sources = Sources(prometheus, postgres, float(minutes), seconds(board["time"]["from"]), now)
    head, parts, lowest = 62, [], 0
    for panel in board["panels"]:
        place = panel["gridPos"]
        column = (WIDTH - GAP) / COLUMNS
        x, y = GAP + place["x"] * column, head + place["y"] * (ROW + GAP)
        width, height = int(place["w"] * column - GAP), place["h"] * (ROW + GAP) - GAP
        lowest = max(lowest, y + height)
        box = f"left:{x:.0f}px;top:{y}px;width:{width}px;height:{height}px"
        title = html.escape(panel["title"])
        if panel["type"] == "row":
            parts.append(f'<div class="row" style="{box}">{title}</div>')
            continue
        inside = height - 30
        if panel["type"] == "stat":
            drawn = stat(panel, sources, width)
        elif panel["type"] == "timeseries":
            series = [one for target in panel["targets"] for one in sources.series(target)]
            of_metrics = "expr" in panel["targets"][0]
            begin = now - (sources.metrics_for if of_metrics else sources.period)
            drawn = graph(panel, series, width, inside, begin, now)
        elif panel["type"] == "table":
            drawn = table(panel, sources.rows(panel["targets"][0]), inside)
        elif panel["type"] == "bargauge":
            drawn = bar_gauge(panel, sources.rows(panel["targets"][0]), inside)
        else:
            sys.exit(f"{panel['title']}: a panel of the type {panel['type']} cannot be drawn")
        parts.append(f'<div class="panel" style="{box}"><h2>{title}</h2>{drawn}</div>')
    foot = "A demonstration. The queries, units and places are those of the dashboard's file; drawn without Grafana, by scripts/dashboard_picture.py."
    parts.append(f'<p class="foot" style="top:{lowest + 12}px">{foot}</p>')
    with open(page, "w", encoding="utf-8") as out:
        out.write(
            f'<!doctype html><meta charset="utf-8"><style>{STYLE % WIDTH}</style><h1>{html.escape(board["title"])}</h1>'
            f'<p class="about">{html.escape(board["description"])}</p>{"".join(parts)}'
        )
    print(f"{WIDTH},{lowest + 40}")


if __name__ == "__main__":
    main()
