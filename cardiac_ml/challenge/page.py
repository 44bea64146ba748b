"""The board as a page that needs nothing beside it, as Markdown, and for the terminal; strangers' text is escaped."""
import re
import time
from html import escape
from pathlib import Path
from string import Template

from cardiac_ml.challenge.scoring import MAIN, MORE_IS_BETTER, part_of
from cardiac_ml.challenge.submission import TASKS
from cardiac_ml.files import atomic_write

COLOURS = 6        # teams with a colour in the drawing of progress
WIDE, HIGH = 1000, 230
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
    second = list(table.rows[0].entry.second) if table.rows else []
    body = [(row.place or "-", row.entry.team, f"{row.entry.value:.3f}", "{:.3f} .. {:.3f}".format(*row.interval),
             row.group, str(row.files), *(f"{value:.3f}" for value in row.entry.second.values()), "; ".join(row.notes))
            for row in table.rows]
    return [(*HEADING[:2], MAIN[table.task], *HEADING[3:], *second, "note"), *body]


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
        take=f"Of the files of a team the {take} one counts.",
        links="".join(f'<a href="#task{task}">Task {task}</a>' for task in tables)
        + '<a href="#meaning">What it means</a>' + '<a href="#refused">Left out</a>' * bool(refused),
        sections="".join(map(_section, tables.values())),
        refused=f'<section id="refused"><h2>Left out</h2><ul>{left_out}</ul></section>' if refused else "")


def _section(table):
    better = "higher" if MORE_IS_BETTER[table.task] else "lower"
    teams = sum(bool(row.place) for row in table.rows)
    head = (f'<section id="task{table.task}"><h2>{title_of(table.task)}</h2><p>Ranked by {MAIN[table.task]}, {better} '
            f"is better. {teams} teams, {len(table.entries)} files; {table.cases} cases of {table.groups} "
            f"{'patients' if table.task <= 2 else 'hearts'}.</p>")
    if not table.rows:
        return head + "<p>Nothing here yet.</p></section>"
    second = "".join(f'<th class="number wide">{escape(name)}</th>' for name in table.rows[0].entry.second)
    low, high = min(row.interval[0] for row in table.rows), max(row.interval[1] for row in table.rows)
    seen, body = set(), []
    for row in table.rows:
        leads = bool(row.group) and row.group not in seen and bool(seen)
        seen |= {row.group} - {""}
        body.append(_row(row, leads, lambda value: 100 * (value - low) / ((high - low) or 1)))
    return (f'{head}<table><tr><th></th><th>Team</th><th class="number">{MAIN[table.task]}</th><th>90 % interval</th>'
            f'<th class="wide"></th>'
            f'<th>Group</th>{second}<th class="number wide">Files</th></tr>{"".join(body)}</table>'
            f"{_progress(table)}</section>")


def _row(row, leads, across):
    entry, (low, high) = row.entry, map(across, row.interval)
    kind = " ".join(["baseline" if not row.place else f"place{row.place}", *["leader"] * leads])
    notes = "".join(f'<span class="note">{escape(note)}</span>' for note in row.notes)
    span = "{:.3f} – {:.3f}".format(*row.interval)
    drawn = (f'<svg height="22" role="img" aria-label="{span}"><line class="bar" x1="{low:.1f}%" x2="{high:.1f}%" '
             f'y1="11" y2="11"/><circle class="dot" cx="{across(entry.value):.1f}%" cy="11" r="5.5"/></svg>')
    second = "".join(f'<td class="number wide">{value:.3f}</td>' for value in entry.second.values())
    letter = f'<span class="letter">{row.group}</span>' if row.group else ""
    return (f'<tr class="{kind}"><td class="place">{row.place}</td><td class="team">{escape(entry.team)}{notes}</td>'
            f'<td class="number">{entry.value:.3f}</td><td class="range">{drawn}</td>'
            f'<td class="number wide">{span}</td><td>{letter}</td>{second}'
            f'<td class="number wide">{row.files if row.place else ""}</td></tr>')


def _progress(table):
    """The best score so far of each team, as steps; the best teams in colour."""
    times = [entry.when for entry in table.entries]
    if len(set(times)) < 2:
        return ""
    sign = 1 if MORE_IS_BETTER[table.task] else -1
    steps = {}
    for entry in table.entries:  # in the order of their dates
        own = steps.setdefault(entry.team, [])
        own.append((entry.when, max(entry.value, own[-1][1], key=lambda value: sign * value) if own else entry.value))
    values = [value for own in steps.values() for _, value in own]
    top, bottom = max(values, key=lambda value: sign * value), min(values, key=lambda value: sign * value)
    first, last = min(times), max(times)

    def place(when, value):
        return (85 + (WIDE - 95) * (when - first) / (last - first),
                15 + (HIGH - 45) * (top - value) / ((top - bottom) or 1))

    ranked = [row.entry.team for row in table.rows if row.place]
    drawn = [_steps(steps[team], place, last, ranked.index(team)) for team in reversed(ranked)]
    marks = [f'<text x="77" y="{place(first, value)[1] + 4:.0f}" text-anchor="end">{value:.3g}</text>' for value in
             {top, bottom}]
    for x, anchor, when in ((85, "start", first), (WIDE - 10, "end", last)):
        said = time.strftime("%d %b %H:%M", time.localtime(when))
        marks.append(f'<text x="{x}" y="{HIGH - 6}" text-anchor="{anchor}">{said}</text>')
    key = "".join(f'<span class="key"><i style="background:var(--c{number})"></i>{escape(team)}</span>'
                  for number, team in enumerate(ranked[:COLOURS]))
    return (f'<h3>Progress: best so far</h3><svg class="progress" viewBox="0 0 {WIDE} {HIGH}" role="img" '
            f'aria-label="progress of the teams"><line class="axis" x1="85" x2="{WIDE - 10}" y1="{HIGH - 25}" '
            f'y2="{HIGH - 25}"/>{"".join(marks)}{"".join(drawn)}</svg><p>{key}</p>')


def _steps(own, place, last, rank):
    x, y = place(*own[0])
    path = f"M{x:.1f} {y:.1f}" + "".join("H{:.1f}V{:.1f}".format(*place(*step)) for step in own[1:])
    style = f' top" style="stroke:var(--c{rank})' if rank < COLOURS else ""
    end = place(last, own[-1][1])[0]
    return f'<path class="path{style}" d="{path}H{end:.1f}"/>'
