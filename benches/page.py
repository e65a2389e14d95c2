"""Makes benches/results/index.html from the stored results: static HTML and SVG that read offline.

`python benches/page.py` rewrites it; `--check` says whether it is what the results give.
"""

from __future__ import annotations

import argparse
import html
import itertools
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
PEERS = HERE / "peers"
PAGE = RESULTS / "index.html"

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 0 0 1.5rem; }
td, th { padding: .15rem .7rem; border-bottom: 1px solid #ddd; text-align: right; font-variant-numeric: tabular-nums; }
td:first-child, th:first-child { text-align: left; }
tr.own { background: #eef6ee; } h3 { margin: 1.5rem 0 .3rem; } .note { color: #666; } svg { display: block; }
"""
OWN, PEER, LINE = "#3b7d3b", "#9aa5b1", "#3b7d3b"


@dataclass(frozen=True)
class Point:
    """One benchmark of one commit."""

    benchmark: str
    parameters: str
    date: int
    commit: str
    value: float


def read_points(results: Path) -> list[Point]:
    """Every figure that asv stored, whichever machine's."""
    points = []
    for file in sorted(results.glob("*/*.json")):
        if file.name == "machine.json":
            continue
        stored = json.loads(file.read_text(encoding="utf-8"))
        for name, row in stored["results"].items():
            column = dict(zip(stored["result_columns"], row, strict=False))
            values, parameters = column["result"], column.get("params") or []
            for combination, value in zip(itertools.product(*parameters), values or [], strict=False):
                if isinstance(value, int | float) and value == value:  # nan: the combination does not exist
                    label = ", ".join(part.strip("'") for part in combination)
                    points.append(Point(name, label, stored["date"], stored["commit_hash"][:8], float(value)))
    return points


def escape(text: object) -> str:
    """Text for HTML."""
    return html.escape(str(text))


def bars(lines: list[dict[str, Any]]) -> str:
    """A bar per target, with the spread as a whisker."""
    longest = max(line["spread"][1] for line in lines) or 1.0
    width, step, left = 420.0, 20, 130
    parts = [f'<svg width="{left + width + 90:.0f}" height="{step * len(lines) + 4}" role="img">']
    for at, line in enumerate(lines):
        y = step * at
        length, (low, high) = line["value"] / longest * width, line["spread"]
        colour = OWN if line["target"].startswith("haybarn") else PEER
        parts += [
            f'<text x="{left - 8}" y="{y + 14}" text-anchor="end" font-size="12">{escape(line["target"])}</text>',
            f'<rect x="{left}" y="{y + 3}" width="{length:.1f}" height="13" fill="{colour}"/>',
            f'<line x1="{left + low / longest * width:.1f}" x2="{left + high / longest * width:.1f}" '
            f'y1="{y + 9.5}" y2="{y + 9.5}" stroke="#222"/>',
            f'<text x="{left + high / longest * width + 6:.1f}" y="{y + 14}" font-size="12">{line["value"]:.2f}</text>',
        ]
    return "".join([*parts, "</svg>"])


def peers_section(file: Path) -> str:
    """One side-by-side run: every row with its bars and ratios."""
    report = json.loads(file.read_text(encoding="utf-8"))
    facts = ", ".join(f"{name} {value}" for name, value in report["machine"].items())
    parts = [
        f"<h2>Side by side: {escape(file.stem)}</h2>",
        f'<p class="note">{escape(facts)}; {report["rounds"]} rounds. Bars are medians, whiskers the 10th to the 90th '
        "percentile; the ratio is the median over rounds of time over the best peer's in the same round.</p>",
    ]
    for row in dict.fromkeys(line["row"] for line in report["rows"]):
        lines = [line for line in report["rows"] if line["row"] == row]
        ratios = "".join(
            f"<tr{' class=own' if line['target'].startswith('haybarn') else ''}><td>{escape(line['target'])}</td>"
            f"<td>{line['value']:.2f}</td><td>{line['spread'][0]:.2f} to {line['spread'][1]:.2f}</td>"
            f"<td>{'-' if line['ratio_to_best_peer'] is None else format(line['ratio_to_best_peer'], '.2f')}</td></tr>"
            for line in lines
        )
        head = f"<tr><th>target</th><th>{escape(lines[0]['unit'])}</th><th>spread</th><th>to best peer</th></tr>"
        parts += [f"<h3>{escape(row)}</h3>", bars(lines), f"<details><summary>figures</summary><table>{head}{ratios}"]
        parts += ["</table></details>"]
    return "\n".join(parts)


def spark(values: list[float]) -> str:
    """A line from the oldest to the newest value, from zero up."""
    width, height, top = 160.0, 28.0, max(values) or 1.0
    step = width / max(len(values) - 1, 1)
    places = [(4 + at * step, height - 3 - value / top * (height - 6)) for at, value in enumerate(values)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{LINE}"/>' for x, y in places)
    line = f'<polyline points="{path}" fill="none" stroke="{LINE}"/>'
    return f'<svg width="{width + 8:.0f}" height="{height:.0f}" role="img">{line}{dots}</svg>'


def history_section(points: list[Point], units: dict[str, str]) -> str:
    """Every benchmark over the commits."""
    commits = dict.fromkeys(point.commit for point in sorted(points, key=lambda p: p.date))
    parts = [f"<h2>Over commits</h2><p>Oldest to newest: {escape(', '.join(commits))}.</p>"]
    for name in dict.fromkeys(point.benchmark for point in points):
        parts.append(f"<h3>{escape(name)} <span class=note>({escape(units.get(name, ''))})</span></h3><table>")
        parts.append("<tr><th>parameters</th><th>first</th><th>last</th><th></th></tr>")
        own = [point for point in points if point.benchmark == name]
        for label in dict.fromkeys(point.parameters for point in own):
            values = [p.value for p in sorted(own, key=lambda p: p.date) if p.parameters == label]
            cells = f"<td>{values[0]:.4g}</td><td>{values[-1]:.4g}</td><td>{spark(values)}</td>"
            parts.append(f"<tr><td>{escape(label) or '-'}</td>{cells}</tr>")
        parts.append("</table>")
    return "\n".join(parts)


def make(results: Path = RESULTS, peers: Path = PEERS) -> str:
    """The whole page."""
    known = results / "benchmarks.json"
    listed = json.loads(known.read_text(encoding="utf-8")) if known.is_file() else {}
    units = {name: entry["unit"] for name, entry in listed.items() if isinstance(entry, dict)}
    machines = sorted(file.parent.name for file in results.glob("*/machine.json"))
    sections = [peers_section(file) for file in sorted(peers.glob("*.json"), reverse=True)]
    points = read_points(results)
    sections += [history_section(points, units)] if points else []
    title = "haybarn: benchmarks"
    return (
        f"<!doctype html>\n<html lang=en><meta charset=utf-8><title>{title}</title><style>{STYLE}</style>\n"
        f"<h1>{title}</h1>\n<p>The rows: docs/benchmarks.md. asv's machine: {escape(', '.join(machines))}.</p>\n"
        + "\n".join(sections)
        + "\n</html>\n"
    )


def main() -> int:
    """Writes the page, or checks it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="exit 1 if the page is not what the results give")
    page = make()
    if parser.parse_args().check:
        return 0 if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page else 1
    PAGE.write_text(page, encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
