"""The page of a study of leads: one HTML file with its pictures inside, for a clinician as well as for an engineer."""
import base64
import html
import io

import matplotlib.pyplot as plt
import numpy as np

from cardiac_ml.files import atomic_write
from cardiac_ml.lead_importance import figures
from cardiac_ml.leads import INDEPENDENT

STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;
padding:0 1rem;color:#222;background:#fff}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .6rem;border-bottom:1px solid #ddd;text-align:right;
vertical-align:top}td:first-child,th:first-child{text-align:left}h2{margin-top:2.5rem}.note{color:#555}
.row{display:flex;flex-wrap:wrap;gap:0 2rem;align-items:flex-start}.row img{flex:1 1 19rem;min-width:0;max-width:27rem}
.row table{font-size:.87rem}a{color:inherit}"""
INTRO = """<p>A network learned from <b>{inside}</b> ({train:,} records) and was asked about other patients of the same
place (<i>inside</i>, {own:,} records) and about <b>{outside}</b> (<i>outside</i>, {other:,} records), with each of the
256 sets of the eight independent leads (III, aVR, aVL and aVF follow from I and II).</p>
<ul><li><b>AUROC</b>: the chance that a record with the diagnosis gets a higher score than one without it. 0.5 is
guessing, 1 is perfect.</li>
<li><b>Value of a lead</b>: what it adds to the AUROC, averaged over all orders in which the leads could arrive; the
eight values add up to the AUROC of all leads minus 0.5. A small value does not mean that a lead is uninformative:
another lead may say the same.</li>
<li><b>Two leads together</b>: what a pair adds beyond what each of them adds. Blue: they complete each other. Red: one
can stand in for the other.</li>
<li><b>AUPRC</b>: of the records that are called, how many have the diagnosis, averaged over all thresholds; guessing
gives their share among all records. <b>Brier score</b> and <b>calibration error</b>: how far the stated probabilities
are from what is so; 0 is perfect.</li>
<li><b>Best sets</b> are chosen on the records on which they are judged, which flatters them a little.</li>
<li><b>Intervals</b> (90 %, in brackets) are over patients; another training would differ too.</li></ul>
<p class="note">Teaching software, not a medical device.</p>"""
MOST_NAMED = 3  # leads whose values cannot be told apart


class Html(str):
    """A piece of the page, not to be escaped again."""


def write(summary, path):
    """The page of what ``study.run`` returns."""
    by_target = {name: [one for one in summary["results"] if one["target"] == name] for name in summary["targets"]}
    inside, outside = summary["hospitals"]
    first = next(iter(by_target.values()))
    parts = [f"<h1>Which leads matter?</h1>{INTRO}".format(
        inside=html.escape(inside["name"]), outside=html.escape(outside["name"]), train=summary["train_records"],
        own=first[0]["records"], other=first[1]["records"])]
    parts.append("<h2>At a glance</h2>" + table(
        ["diagnosis", "AUROC inside", "AUROC outside", "I alone, outside", "highest values inside", "outside"],
        [[Html(f'<a href="#{place(name)}">{html.escape(name)}</a>'), interval(own["scores"]["AUROC"]),
          interval(other["scores"]["AUROC"]), f"{other['in_use']['1: I']:.3f}", leading(own), leading(other)]
         for name, (own, other) in by_target.items()]))
    parts += [f'<h2 id="{place(name)}">{html.escape(name[0].upper() + name[1:])}</h2>{section(*both)}'
              for name, both in by_target.items()]
    parts += [checks(summary), left_out(summary)]
    page = ("<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
            f"<title>Which leads matter?</title><style>{STYLE}</style>")
    with atomic_write(path, "w") as file:
        file.write(page + "".join(parts))
    return path


def place(name):
    """Of a diagnosis on the page: its anchor."""
    return name.replace(" ", "-")


def leading(one):
    """The most valuable lead, and those whose intervals reach into its own."""
    order = np.argsort(one["value"])[::-1]
    alike = [INDEPENDENT[lead] for lead in order if one["high"][lead] >= one["low"][order[0]]]
    return ", ".join(alike) if len(alike) <= MOST_NAMED else "many alike"


def section(own, other):
    """One diagnosis: sentence, pictures, scores, sets in use, best sets."""
    (inside, low, _), (outside, _, high) = own["scores"]["AUROC"], other["scores"]["AUROC"]
    word = "The answer carries to the other place."
    if inside - outside > 0.05:
        word = (f"Outside, the AUROC is {inside - outside:.3f} lower than inside: patients or devices differ, or how "
                "the diagnosis is written down" + (", or it is chance (the intervals overlap)." if high > low else "."))
    if low < 0.6:
        word = "Even inside, the network hardly tells it from the rest, so the values of its leads mean little."
    best = [row for row in other["best"] if row[1] >= other["area"][-1] - 0.01][0]
    word += f" Outside, the smallest set within 0.01 of all leads is: {', '.join(best[0]) or 'no lead'}."
    counts = (f"<p class=note>inside: {own['positive']:,} of {own['records']:,} records have it; outside: "
              f"{other['positive']:,} of {other['records']:,}.</p>")
    scores = table(["", "inside", "outside"], [[name, interval(own["scores"][name]), interval(other["scores"][name])]
                                               for name in own["scores"]])
    sets = table(["AUROC of sets in use", "inside", "outside"],
                 [[name, f"{own['in_use'][name]:.3f}", f"{other['in_use'][name]:.3f}"] for name in own["in_use"]])
    found = table(["best sets, outside", "AUROC"], [[", ".join(leads), f"{area:.3f}"] for leads, area in
                                                    other["best"][1:] if len(leads) <= 4])
    return (f"<p>{word}</p>{counts}<div class=row>{pictures(own, other)}</div>"
            f"<div class=row>{scores}{sets}{found}</div>")


def pictures(own, other):
    """Values of the leads inside and outside, score by number of leads, pairs outside: three <img>."""
    return "".join(image(draw, own, other) for draw in (draw_values, draw_best_sets, draw_pairs))


def image(draw, own, other):
    """What ``draw`` puts on axes, as an <img> that says what it shows."""
    figure, ax = plt.subplots(figsize=(4.2, 3.6), layout="constrained")
    draw(ax, own, other)
    if ax.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        ax.spines[["top", "right"]].set_visible(False)
    memory = io.BytesIO()
    figure.savefig(memory, dpi=110)
    plt.close(figure)
    return f'<img alt="{ax.get_title()}" src="data:image/png;base64,{base64.b64encode(memory.getvalue()).decode()}">'


def draw_values(ax, own, other):
    row = np.arange(len(INDEPENDENT))
    for shift, one, colour in ((-0.2, own, figures.FOR), (0.2, other, figures.ERROR)):
        value, low, high = (np.array(one[key]) for key in ("value", "low", "high"))
        ax.barh(row + shift, value, 0.38, color=colour, label=one["site"])
        ax.errorbar(value, row + shift, xerr=[value - low, high - value], fmt="none", ecolor="0.35", capsize=2)
    ax.set(yticks=row, yticklabels=INDEPENDENT, xlabel="share of the AUROC above 0.5", title="value of each lead")
    ax.invert_yaxis()


def draw_best_sets(ax, own, other):
    for one, colour in ((own, figures.FOR), (other, figures.ERROR)):
        ax.plot(range(9), [score for _, score in one["best"]], "o-", color=colour, label=one["site"])
    ax.set(xlabel="number of independent leads", ylabel="AUROC", title="best set of each size")


def draw_pairs(ax, own, other):
    figures.pairs(np.array(other["interactions"]), INDEPENDENT, ax=ax)
    ax.set_title("two leads together, outside")


def checks(summary):
    """Networks of one set beside the network for all sets; sampled values beside exact ones."""
    error = max(one["sampling_error"] for one in summary["results"])
    note = (f"<p>The values are exact sums over 256 sets. Estimates from 200 random orders, as one would need for more "
            f"leads, are off by {error:.3f} at most.</p>")
    if not summary["checks"]:
        return f"<h2>Checks</h2>{note}"
    rows = [[f"{one['target']}, {one['set']}", f"{one['alone']:.3f}", f"{one['shared']:.3f}"]
            for one in summary["checks"]]
    return (f"<h2>Checks</h2>{note}<p>Is one network for all sets as good as one that only ever saw this set?</p>"
            + table(["AUROC inside", "trained on this set", "network for all sets"], rows))


def left_out(summary):
    """What was not used, and why."""
    parts = ["<h2>What was left out</h2>"]
    if summary["not_asked"]:
        parts.append(f"<p>Diagnoses with too few records: {', '.join(summary['not_asked'])}.</p>")
    for hospital in summary["hospitals"]:
        reasons = [[one["record"], one["reason"]] for one in hospital["left_out"][:20]]
        codes = ", ".join(f"{code} ({count})" for code, count in hospital["unmapped"])
        parts.append(f"<h3>{html.escape(hospital['name'])}</h3><p>{hospital['records']:,} records of "
                     f"{hospital['patients']:,} patients were used, {len(hospital['left_out'])} left out. "
                     f"{hospital['unmapped_codes']} codes have no target"
                     + (f", most often {html.escape(codes)}" if codes else "") + ".</p>"
                     + (table(["record", "reason"], reasons) if reasons else ""))
    return "".join(parts)


def table(head, rows):
    text = lambda cell: cell if isinstance(cell, Html) else html.escape(str(cell))
    cells = lambda tag, row: "".join(f"<{tag}>{text(cell)}</{tag}>" for cell in row)
    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table><tr>{cells('th', head)}</tr>{body}</table>"


def interval(score):
    """In two pieces at most, where a table is narrow."""
    return "{:.3f} ({:.3f}\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}{:.3f})".format(*score)
