"""The page of a study of leads: one HTML file with its pictures inside, for a clinician as well as for an engineer."""
import base64
import html
import io

import matplotlib.pyplot as plt
import numpy as np

from cardiac_ml.files import atomic_write
from cardiac_ml.lead_importance import figures
from cardiac_ml.leads import INDEPENDENT

STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;
padding:0 1rem;color:#222;background:#fff}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .7rem;border-bottom:1px solid #ddd;text-align:right}
td:first-child,th:first-child{text-align:left}img{max-width:100%}h2{margin-top:2.5rem}.note{color:#555}"""
INTRO = """<p>A network learned from <b>{inside}</b> ({train:,} records) and was asked about other patients of the same
place (<i>inside</i>, {own:,} records) and about <b>{outside}</b> (<i>outside</i>, {other:,} records), with each of the
256 sets of the eight independent leads (III, aVR, aVL and aVF follow from I and II).</p>
<p>The <b>AUROC</b> is the chance that a record with the diagnosis gets a higher score than one without it: 0.5 is
guessing, 1 is perfect. The <b>value of a lead</b> is what it adds to the AUROC, averaged over all orders in which the
leads could arrive; the eight values add up to the AUROC of all leads minus 0.5. A small value does not mean that a
lead is uninformative: another lead may say the same. Intervals (90 %) are over patients; another training would differ
too.</p>
<p class="note">Teaching software, not a medical device.</p>"""


def write(summary, path):
    """The page of what ``study.run`` returns."""
    by_target = {name: [one for one in summary["results"] if one["target"] == name] for name in summary["targets"]}
    inside, outside = summary["hospitals"]
    first = next(iter(by_target.values()))
    parts = [f"<h1>Which leads matter?</h1>{INTRO}".format(
        inside=html.escape(inside["name"]), outside=html.escape(outside["name"]), train=summary["train_records"],
        own=first[0]["records"], other=first[1]["records"])]
    parts.append("<h2>At a glance</h2>" + table(
        ["diagnosis", "AUROC inside", "AUROC outside", "most valuable lead (inside, outside)", "I alone, outside"],
        [[name, interval(own["scores"]["AUROC"]), interval(other["scores"]["AUROC"]),
          ", ".join(INDEPENDENT[int(np.argmax(one["value"]))] for one in (own, other)),
          f"{other['in_use']['1: I']:.3f}"]
         for name, (own, other) in by_target.items()]))
    parts += [f"<h2>{html.escape(name)}</h2>{section(*both)}" for name, both in by_target.items()]
    parts += [checks(summary), left_out(summary)]
    page = f"<!doctype html><html lang=en><meta charset=utf-8><title>Which leads matter?</title><style>{STYLE}</style>"
    with atomic_write(path, "w") as file:
        file.write(page + "".join(parts))
    return path


def section(own, other):
    """One diagnosis: sentence, figure, scores, sets in use."""
    fall = own["scores"]["AUROC"][0] - other["scores"]["AUROC"][0]
    word = (f"Outside, the AUROC is {fall:.3f} lower than inside: patients or devices differ, or how the diagnosis is "
            "written down." if fall > 0.05 else "The answer carries to the other place.")
    if own["scores"]["AUROC"][1] < 0.6:
        word = "Even inside, the network hardly tells it from the rest, so the values of its leads mean little."
    best = [row for row in other["best"] if row[1] >= other["area"][-1] - 0.01][0]
    word += (f" Outside, the smallest set within 0.01 of all leads is: {', '.join(best[0]) or 'no lead'} (found on "
             "these records, which flatters it a little).")
    counts = (f"<p class=note>inside: {own['positive']} of {own['records']} records have it; outside: "
              f"{other['positive']} of {other['records']}.</p>")
    scores = table(["", "inside", "outside"], [[name, interval(own["scores"][name]), interval(other["scores"][name])]
                                               for name in own["scores"]])
    sets = table(["AUROC of sets in use", "inside", "outside"],
                 [[name, f"{own['in_use'][name]:.3f}", f"{other['in_use'][name]:.3f}"] for name in own["in_use"]])
    return f"<p>{word}</p>{counts}{picture(own, other)}{scores}{sets}"


def picture(own, other):
    """Values of the leads inside and outside, score by number of leads, interactions outside: an <img>."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 3.6), layout="constrained")
    place = np.arange(8)
    for shift, one, colour in ((-0.2, own, figures.FOR), (0.2, other, figures.ERROR)):
        value, low, high = (np.array(one[key]) for key in ("value", "low", "high"))
        axes[0].barh(place + shift, value, 0.38, color=colour, label=one["site"])
        axes[0].errorbar(value, place + shift, xerr=[value - low, high - value], fmt="none", ecolor="0.35", capsize=2)
    axes[0].set(yticks=place, yticklabels=INDEPENDENT, xlabel="share of the AUROC above 0.5", title="value of a lead")
    axes[0].invert_yaxis()
    axes[0].legend(frameon=False)
    for one, colour in ((own, figures.FOR), (other, figures.ERROR)):
        axes[1].plot(range(9), [score for _, score in one["best"]], "o-", color=colour, label=one["site"])
    axes[1].set(xlabel="number of independent leads", ylabel="AUROC", title="best set of each size")
    axes[1].legend(frameon=False)
    figures.pairs(np.array(other["interactions"]), INDEPENDENT, ax=axes[2])
    axes[2].set_title("pairs, outside: blue complete, red replace", fontsize=10)
    for ax in axes[:2]:
        ax.spines[["top", "right"]].set_visible(False)
    memory = io.BytesIO()
    figure.savefig(memory, dpi=90)
    plt.close(figure)
    return f'<img alt="values of the leads" src="data:image/png;base64,{base64.b64encode(memory.getvalue()).decode()}">'


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
    cells = lambda tag, row: "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in row)
    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table><tr>{cells('th', head)}</tr>{body}</table>"


def interval(score):
    return "{:.3f} ({:.3f} to {:.3f})".format(*score)
