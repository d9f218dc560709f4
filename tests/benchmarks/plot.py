"""docs/benchmarks.svg: bars, drawn without a plotting library."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

CHARTS = {
    "A token seen for the first time": "Decision on a token seen for the first time, µs",
    "A token seen before": "Decision on a token seen before, µs",
    "Issuing, introspection and exchange": "Token endpoints, µs",
    "Cold start": "Processor time of a fresh process until its first answer, ms",
    "Tokens per second over HTTP": "Tokens per second over HTTP (more is better)",
}
_WIDTH, _LABEL, _BAR, _ROW, _TITLE, _GAP = 1020, 540, 400, 22, 34, 18
_STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #333 }
  .title { font-weight: 600; fill: #111 }
  .gatehouse { fill: #2563eb } .other { fill: #9ca3af }
  @media (prefers-color-scheme: dark) { text { fill: #ccc } .title { fill: #eee } }
"""


def write_plot(found: Mapping[str, Any]) -> str:
    """Draw one chart below the other, each with its own scale."""
    body: list[str] = []
    top = 8
    for section in found["sections"]:
        title = CHARTS.get(section["title"])
        if title is None:
            continue
        bars = [each for each in section["measurements"] if each["unit"] == section["measurements"][0]["unit"]]
        body.extend(_chart(title, bars, top))
        top += _TITLE + _ROW * len(bars) + _GAP
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" '
        f'width="{_WIDTH}" height="{top}" role="img">'
    )
    return "\n".join([head, f"<style>{_STYLE}</style>", *body, "</svg>"]) + "\n"


def _chart(title: str, bars: list[dict[str, Any]], top: int) -> Iterator[str]:
    yield f'<text class="title" x="8" y="{top + 16}">{escape(title)}</text>'
    longest = max(bar["value"] for bar in bars)
    for at, bar in enumerate(bars):
        y = top + _TITLE + _ROW * at - 6
        length = round(_BAR * bar["value"] / longest, 1)
        kind = "gatehouse" if bar["name"].startswith("Gatehouse") else "other"
        figure = f"{bar['value']:,.0f}" if bar["value"] >= 100 else f"{bar['value']:.1f}"
        yield f'<text x="{_LABEL - 8}" y="{y + 13}" text-anchor="end">{escape(bar["name"])}</text>'
        yield f'<rect class="{kind}" x="{_LABEL}" y="{y}" width="{length}" height="16" rx="2"/>'
        yield f'<text x="{_LABEL + length + 6}" y="{y + 13}">{figure}</text>'
