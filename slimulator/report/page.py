"""The frame of a report: one HTML document, light and dark, for screens, phones and paper. Nothing is loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from isa.files import replacing
from slimulator.report.marks import escape
from slimulator.version import VERSION

COLOURS = 8             # of series, in a fixed order: --s1 to --s8

# The two sets of colours are the same hues, each with enough contrast to its background; texts never have a series' colour.
_STYLE = """
:root { color-scheme: light dark; --page: #f9f9f7; --paper: #fff; --ink: #0b0b0b; --soft: #52514e; --faint: #898781;
  --still: #cfcdc4; --line: #e1e0d9; --s1: #2a78d6; --s2: #eb6834; --s3: #1baf7a; --s4: #eda100; --s5: #e87ba4; --s6: #008300;
  --s7: #4a3aa7; --s8: #e34948; }
@media (prefers-color-scheme: dark) { :root { --page: #0d0d0d; --paper: #1a1a19; --ink: #fff; --soft: #c3c2b7; --faint: #898781;
  --still: #4b4a46; --line: #2c2c2a; --s1: #3987e5; --s2: #d95926; --s3: #199e70; --s4: #c98500; --s5: #d55181; --s6: #008300;
  --s7: #9085e9; --s8: #e66767; } }
* { box-sizing: border-box } html { -webkit-text-size-adjust: 100% }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif }
main { max-width: 1080px; margin: 0 auto; padding: 20px 16px 48px }
h1 { font-size: 24px; line-height: 1.25; margin: 0 0 4px } h2 { font-size: 17px; margin: 0 0 2px }
h3 { font-size: 15px; margin: 12px 0 4px }
p { margin: 0 0 10px } a { color: inherit } .soft { color: var(--soft) } .small { font-size: 13px }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 8px; padding: 14px 16px; margin: 14px 0;
  break-inside: avoid }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 10px; margin: 14px 0 }
.tile { background: var(--paper); border: 1px solid var(--line); border-radius: 8px; padding: 10px 12px }
.tile b { display: block; font-size: 21px; line-height: 1.3; font-weight: 600 }
.legend { display: flex; flex-wrap: wrap; gap: 2px 14px; margin: 6px 0 8px; font-size: 13px; color: var(--soft) }
.legend i { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin-right: 5px }
.bars { display: grid; grid-template-columns: minmax(60px, max-content) 1fr minmax(64px, max-content); gap: 7px 10px;
  align-items: center; font-size: 13px }
.bars .name { overflow-wrap: anywhere; max-width: 260px } .bars .value { text-align: right;
  color: var(--soft);
  font-variant-numeric: tabular-nums } .track { display: flex; height: 16px; gap: 2px } .track span { min-width: 1px; height: 100% }
.track span:last-child { border-radius: 0 4px 4px 0 }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-size: 13px; width: 100% }
th, td { text-align: left; padding: 4px 10px 4px 0; border-bottom: 1px solid var(--line); vertical-align: top }
th { color: var(--soft); font-weight: 500 } td.n, th.n { text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums }
td { overflow-wrap: break-word }
td:first-child { overflow-wrap: anywhere; min-width: 7em }
td.last { min-width: 14em } svg { display: block; max-width: 100%; height: auto } svg text { fill: var(--soft); font-size: 12px }
svg text.strong { fill: var(--ink) } svg .grid { stroke: var(--line) } svg .ring { stroke: var(--paper); stroke-width: 2 }
details { margin-top: 8px } summary { cursor: pointer; color: var(--soft); font-size: 13px }
pre { overflow-x: auto; background: var(--page); padding: 10px; border-radius: 6px; font-size: 13px; margin: 6px 0 }
.wide svg { max-width: none } button { font: inherit; font-size: 13px; color: var(--ink); background: var(--page);
  border: 1px solid var(--line); border-radius: 6px; padding: 3px 10px; margin-right: 6px }
.told { min-height: 3em; font-size: 13px; color: var(--soft); margin: 8px 0 0; overflow-wrap: anywhere }
@media (max-width: 560px) { main { padding: 14px 10px 32px } section { padding: 12px 10px }
  svg.plot text { font-size: 17px } svg.plot circle { r: 8px }
  .bars { grid-template-columns: 1fr auto } .bars .name { grid-column: 1 / -1; margin-bottom: -6px; max-width: none } }
@media print { body { background: #fff } section, .tile { border-color: #bbb } button, .told { display: none }
  main { max-width: none; padding: 0 } .scroll { overflow: visible } pre { white-space: pre-wrap; overflow: visible }
  #figures details::details-content { content-visibility: visible; height: auto } section:has(table) { break-inside: auto }
  tr, svg { break-inside: avoid } h2, h3, summary { break-after: avoid } #figures table { font-size: 9.5px; line-height: 1.35 }
  #figures td { padding: 1px 10px 1px 0 } #figures td:first-child { white-space: nowrap }
  .wide svg { max-width: 100%; width: 100% !important; height: auto } }
"""

# A slice of the timeline that is chosen is told; zooming makes the picture wider and keeps what is in the middle there. A link to
# the machine's figures unfolds them.
_SCRIPT = """
for (const view of document.querySelectorAll('.timeline')) {
  const box = view.querySelector('.scroll'), svg = view.querySelector('svg'), told = view.querySelector('.told');
  let zoom = 1;
  const set = (to, at) => { const old = zoom; zoom = Math.min(400, Math.max(1, to));
    const middle = (box.scrollLeft + at) / (box.clientWidth * old); svg.style.width = 100 * zoom + '%';
    box.scrollLeft = middle * box.clientWidth * zoom - at; };
  svg.style.width = '100%';
  view.querySelector('.in').onclick = () => set(zoom * 2, box.clientWidth / 2);
  view.querySelector('.out').onclick = () => set(zoom / 2, box.clientWidth / 2);
  view.querySelector('.all').onclick = () => set(1, 0);
  svg.onclick = event => { const slice = event.target.closest('rect[data-w]'); if (!slice) return;
    told.textContent = slice.querySelector('title').textContent.replaceAll('\\n', ' · ');
    const share = 1000 / Math.max(.01, slice.getAttribute('width')); set(Math.max(zoom, share / 4), 0);
    const middle = (+slice.getAttribute('x') + slice.getAttribute('width') / 2) / 1000;
    box.scrollLeft = middle * box.clientWidth * zoom - box.clientWidth / 2; };
}
for (const link of document.querySelectorAll('a[href="#figures"]')) link.onclick = () => {
  for (const each of document.querySelectorAll('#figures details')) each.open = true; };
"""


def page(title: str, about: str, parts: Iterable[str]) -> str:
    """A whole document. `about` is a line under the title; `parts` are HTML."""
    return (f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, '
            f'initial-scale=1"><title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body><main>\n<h1>{escape(title)}</h1>\n'
            f'<p class="soft">{escape(about)}</p>\n' + "\n".join(filter(None, parts))
            + f'\n<p class="soft small">Slimulator {escape(VERSION)}. Counters are exact. Time and energy are estimates from the '
            f"figures of the machine.</p>\n</main><script>{_SCRIPT}</script></body></html>\n")


def write_page(path: Path, text: str) -> None:
    """Write a document, whole or not at all. Raises OSError."""
    with replacing(path) as stream:
        stream.write(text.encode())
