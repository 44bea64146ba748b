"""The board as a page that needs nothing beside it, as Markdown, and for the terminal; strangers' text is escaped."""
import re
import time
from html import escape
from pathlib import Path
from string import Template

import numpy as np

from cardiac_ml.challenge.board import SECOND
from cardiac_ml.challenge.scoring import MAIN, MORE_IS_BETTER, metrics_of, part_of
from cardiac_ml.challenge.submission import TASKS
from cardiac_ml.files import atomic_write

COLOURS = 6        # teams with a colour in the drawing of progress, and of letters
HEADING = ("place", "team", "score", "90 % interval", "group", "files")


def write(out, tables, refused, final=False, take="best"):
    """``board.html`` and ``board.md`` in the folder ``out``; returns the first."""
    out = Path(out)
    texts = {"board.html": as_html(tables, refused, final, take), "board.md": as_markdown(tables, refused)}
    for name, text in texts.items():
        with atomic_write(out / name, "w") as file:
            file.write(text)
    return out / "board.html"


def lines(table):
    """The board as text cells, a heading first."""
    body = [(row.place or "-", row.entry.team, shown(row.entry.value), span(row.interval), row.group, str(row.files),
             *map(shown, row.entry.second.values()), "; ".join(row.notes)) for row in table.rows]
    return [(*HEADING[:2], MAIN[table.task], *HEADING[3:], *SECOND[table.task], "note"), *body]


def shown(value):
    return "-" if value != value else f"{value:.3f}"  # NaN: this metric has no value here


def span(interval):
    """An interval in words; of a single heart there is none."""
    return " .. ".join(map(shown, interval))


def title_of(task):
    return f"Task {task}: {TASKS[task].title}"


def as_text(table):
    cells = lines(table)
    widths = [max(map(len, column)) for column in zip(*cells)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells)


def as_markdown(tables, refused):
    def quiet(cell):  # every sign that could mean something in Markdown
        return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", cell) if re.search("[^0-9. -]", cell) else cell
    parts = []
    for task, table in tables.items():
        rows = ["| " + " | ".join(map(quiet, row)) + " |" for row in lines(table)]
        parts += [f"# {title_of(task)}\n", *rows[:1], "|" + " --- |" * len(lines(table)[0]), *rows[1:], ""]
    parts += ["# Left out\n"] * bool(refused) + [f"* {quiet(name)}: {quiet(why)}" for name, why in refused.items()]
    return "\n".join(parts) + "\n"


def as_html(tables, refused, final, take):
    page = Template((Path(__file__).parent / "page.html").read_text(encoding="utf-8"))
    left_out = "".join(f"<li><b>{escape(name)}</b>: {escape(why)}</li>" for name, why in refused.items())
    return page.substitute(
        title="The board", said=f"{time.strftime('%d %B %Y, %H:%M')} · {part_of(final)}",
        take=f"Of the files of a team the {take} one{' of the week' * (take == 'best')} counts.",
        metrics=_meanings(tables),
        links="".join(f'<a href="#task{task}">Task {task}</a>' for task in tables)
        + '<a href="#meaning">What it means</a>' + '<a href="#refused">Left out</a>' * bool(refused),
        sections="".join(map(_section, tables.values())),
        refused=f'<section id="refused"><h2>Left out</h2><ul>{left_out}</ul></section>' if refused else "")


def _count(number, what):
    return f"{number} {what}{'s' * (number != 1)}"


def _meanings(tables):
    """What each metric of these boards is, by its own description."""
    found = {name: metrics_of(task)[name].__doc__ for task in tables for name in (MAIN[task], *SECOND[task])}
    found |= {name: "Share of this class that was found." for name in found if name.startswith("sensitivity")}
    return "".join(f"<dt>{escape(name)}</dt><dd>{escape(said.splitlines()[0])}</dd>" for name, said in found.items())


def _section(table):
    better = "higher" if MORE_IS_BETTER[table.task] else "lower"
    teams = sum(bool(row.place) for row in table.rows)
    head = (f'<section id="task{table.task}"><h2>{title_of(table.task)}</h2><p>Ranked by {MAIN[table.task]}, {better} '
            f"is better. {_count(teams, 'team')}, {_count(len(table.entries), 'file')}; {table.cases} cases of "
            f"{_count(table.groups, 'patient' if table.task <= 2 else 'heart')}.</p>")
    if not table.rows:
        return head + "<p>Nothing here yet.</p></section>"
    second = "".join(f'<th class="number wide">{escape(name)}</th>' for name in SECOND[table.task])
    across = _scale([end for row in table.rows for end in (row.entry.value, *row.interval) if end == end],  # not NaN
                    MORE_IS_BETTER[table.task])[0]
    body = "".join(_row(row, across) for row in table.rows)
    return (f'{head}<table><tr><th></th><th>Team</th><th class="number">{MAIN[table.task]}</th><th>90 % interval</th>'
            f'<th class="wide"></th>'
            f'<th>Group</th>{second}<th class="number wide">Files</th></tr>{body}</table>'
            f"{_progress(table)}</section>")


def _scale(values, more_is_better):
    """(how far along an axis a value lies, 0 .. 100; the ends of the axis); who is far behind stands at its edge."""
    sign = -1 if more_is_better else 1
    best, middle, worst = np.quantile(np.multiply(sign, values), (0, 0.5, 1))
    low, high = sorted((sign * best, sign * (min(worst, middle + 2 * (middle - best)) if middle > best else worst)))
    return lambda value: min(max(100 * (value - low) / ((high - low) or 1), 0), 100), (low, high)


def _row(row, across):
    entry, said = row.entry, span(row.interval)
    notes = "".join(f'<span class="note">{escape(note)}</span>' for note in row.notes)
    bar = '<line class="bar" x1="{:.1f}%" x2="{:.1f}%" y1="11" y2="11"/>'.format(*map(across, row.interval))
    drawn = (f'<svg height="22" role="img" aria-label="{said}">{bar if said != "- .. -" else ""}'
             f'<circle class="dot" cx="{across(entry.value):.1f}%" cy="11" r="5.5"/></svg>')
    second = "".join(f'<td class="number wide">{shown(value)}</td>' for value in entry.second.values())
    colour = (ord(row.group[0]) - ord("A")) % COLOURS if row.group else 0
    letter = f'<span class="letter" style="background:var(--c{colour})">{row.group}</span>' if row.group else ""
    return (f'<tr class="{f"place{row.place}" if row.place else "baseline"}"><td class="place">{row.place}</td>'
            f'<td class="team">{escape(entry.team)}{notes}</td>'
            f'<td class="number">{shown(entry.value)}</td><td class="range">{drawn}</td>'
            f'<td class="number wide">{said}</td><td>{letter}</td>{second}'
            f'<td class="number wide">{row.files if row.place else ""}</td></tr>')


def _progress(table):
    """The best score so far of each team, as steps, the best on top; the best teams in colour."""
    first, last = (end([entry.when for entry in table.entries], default=0) for end in (min, max))
    if first == last:
        return ""
    more = MORE_IS_BETTER[table.task]
    better, steps = max if more else min, {}
    for entry in table.entries:  # in the order of their dates
        own = steps.setdefault(entry.team, [])
        own.append((entry.when, better(entry.value, own[-1][1]) if own else entry.value))
    across, ends = _scale([value for own in steps.values() for _, value in own], more)
    ranked = [row.entry.team for row in table.rows if row.place]
    drawn = "".join(_steps([(1000 * (when - first) / (last - first), abs(100 * more - across(value)))
                            for when, value in steps[team]], ranked.index(team)) for team in reversed(ranked))
    labels = "".join(f"<span>{value:.3g}</span>" for value in (reversed(ends) if more else ends))
    dates = "".join(f"<span>{time.strftime('%d %b %H:%M', time.localtime(when))}</span>" for when in (first, last))
    key = "".join(f'<span class="key"><i style="background:var(--c{number})"></i>{escape(team)}</span>'
                  for number, team in enumerate(ranked[:COLOURS]))
    return (f'<h3>Progress: best so far</h3><div class="progress"><div>{labels}</div><svg viewBox="0 0 1000 100" '
            f'preserveAspectRatio="none" role="img" aria-label="progress of the teams">{drawn}</svg></div>'
            f'<p class="dates">{dates}</p><p>{key}</p>')


def _steps(own, rank):
    path = "M{:.1f} {:.1f}".format(*own[0]) + "".join(f"H{x:.1f}V{y:.1f}" for x, y in own[1:])
    style = f' top" style="stroke:var(--c{rank})' if rank < COLOURS else ""
    return f'<path class="path{style}" d="{path}H1000"/>'
