"""What a notebook's cells printed, put in order: two runs that give the same numbers give the same bytes.

Progress bars become one line with their last state, what was written in pieces is joined, and what differs from run to
run though nothing changed (folders, addresses, identifiers, "took 12 s") is masked.
"""
import base64
import hashlib
import html
import re
import sys
import tempfile
from pathlib import Path

from cardiac_ml.files import ROOT, cache_folder

WIDGET = "application/vnd.jupyter.widget-view+json"
BAR = re.compile(r"(?P<name>[^%\n]*?):?\s*(?:\d+%)?\s*\|[^|\n]*\|\s*(?P<count>[^\s\[]+)\s*\[(?P<timing>[^\]\n]*)\]?\s*")
COUNTER = re.compile(
    r"(?:(?P<name>[^\n]*?):?\s+)?(?P<count>[\d.]+[kMG]?\s?[A-Za-z]+) \[(?P<timing>[\d:]+, [^\]\n]*)\]\s*")


# --- progress bars -------------------------------------------------------------------------------------------------

def bar_text(line):
    """One line for a tqdm bar, without its drawing and its times ("epochs: 20/20, valid=0.93"); None for other text."""
    bar = BAR.fullmatch(line) or COUNTER.fullmatch(line)
    if not bar:
        return None
    parts = bar["timing"].split(", ")
    rest = parts[2:] if "<" in bar["timing"] or "/" in parts[-1] else parts[1:]
    while rest and re.fullmatch(r"\s*[\d.?]*\s*\w+/\w+", rest[0]):  # a rate is a time in disguise
        rest = rest[1:]
    return (f"{bar['name'].strip()}: " if bar["name"] else "") + ", ".join([bar["count"].removesuffix("/?"), *rest])


def widget_text(model, widgets):
    """The line of a tqdm widget (a box of text, bar, text); None for any other widget, or one that has gone."""
    names = widgets.get(model, {}).get("children", [])
    children = [widgets.get(name.removeprefix("IPY_MODEL_"), {}) for name in names]
    if len(children) != 3 or "max" not in children[1]:
        return None
    before, after = (html.unescape(str(children[place].get("value", ""))) for place in (0, 2))
    return bar_text(f"{before}||{after}".replace("\N{FIGURE SPACE}", " "))


def as_seen(text):
    """What a terminal shows in the end, after carriage returns and cursor-up have overwritten lines."""
    lines, row, column = [""], 0, 0
    for piece in re.split(r"(\n|\r|\x1b\[A)", text):
        if piece == "\n":
            row, column = row + 1, 0
            lines += [""] * (row == len(lines))
        elif piece == "\r":
            column = 0
        elif piece == "\x1b[A":
            row = max(row - 1, 0)
        else:
            kept = lines[row].ljust(column)
            lines[row] = kept[:column] + piece + kept[column + len(piece):]
            column += len(piece)
    return "\n".join(line.rstrip() for line in lines)


# --- outputs of one cell -------------------------------------------------------------------------------------------

def plain(text):
    return {"output_type": "display_data", "data": {"text/plain": text}, "metadata": {}}


def joined(streams):
    """Neighbouring stream outputs as at most: finished bars, what went to stderr, what was printed.

    The two streams reach the notebook separately, so their order among each other is chance.
    """
    text = {name: as_seen("".join(s["text"] for s in streams if s["name"] == name)) for name in ("stderr", "stdout")}
    lines = text["stderr"].split("\n")
    bars = [bar for line in lines if (bar := bar_text(line))]
    text["stderr"] = "\n".join(line for line in lines if not bar_text(line))
    outputs = [plain("\n".join(bars))] if bars else []
    return outputs + [{"output_type": "stream", "name": name, "text": words} for name, words in text.items()
                      if words.strip()]


def tidy_outputs(outputs, widgets):
    """The outputs of a cell with bars as text and streams joined."""
    tidy, streams = [], []
    for output in outputs:
        if output["output_type"] == "stream":
            streams.append(output)
            continue
        view = output.get("data", {}).pop(WIDGET, None)
        if view is not None:
            text = widget_text(view["model_id"], widgets)
            output = plain(text) if text else None
        if output is not None:
            tidy += joined(streams) + [output]
            streams = []
    return tidy + joined(streams)


def tidy(notebook, widgets):
    """In place: every output tidied, no widget left. ``widgets``: the state of each widget model by its identifier."""
    from nbformat import from_dict
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [from_dict(output) for output in tidy_outputs(cell.outputs, widgets)]
    notebook.metadata.pop("widgets", None)


# --- the same bytes every time -------------------------------------------------------------------------------------

class Mask:
    """Replaces what differs between two runs of one notebook. One object a notebook: it numbers the identifiers."""

    IDENTIFIER = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|(?<=\bT_)[0-9a-f]{5}(?=\b|_)")
    RULES = (
        (re.compile(r"\S*ipykernel_\d+[/\\]\d+\.py"), "<cell>"),
        (re.compile(r"\b0x[0-9a-f]{6,}\b"), "0x..."),
        (re.compile(r"\btook (about )?[\d.:]+(?= ?(?:ms|s|seconds?|min|minutes?|h)\b)"), "took ..."),
        (re.compile(r"^(?:CPU times|Wall time): .*\n?", re.MULTILINE), ""),
    )

    def __init__(self, working_folder=None):
        self.known = {}
        folders = {working_folder: "", ROOT: "", cache_folder(): "cache/", sys.prefix: "python/",
                   tempfile.gettempdir(): "temporary/", Path.home(): "~/"}
        places = {spelled: short for folder, short in folders.items() if folder
                  for spelled in (str(folder), str(Path(folder).resolve()))}
        self.places = sorted(((place, short) for place, short in places.items() if len(place) > 3),
                             key=lambda item: -len(item[0]))

    def __call__(self, text):
        for pattern, mask in self.RULES:
            text = pattern.sub(mask, text)
        for place, short in self.places:
            text = re.sub(re.escape(place) + r"(?:[/\\]|(?![\w.-]))", short, text)
        return self.IDENTIFIER.sub(self.number, text)

    def number(self, match):
        """The same length, counted in order of appearance, so that links between parts of a page still hold."""
        count = self.known.setdefault(match[0], len(self.known) + 1)
        return "".join("-" if letter == "-" else "0" for letter in match[0])[:-4] + f"{count:04x}"[-4:]


def stable(notebook, working_folder=None):
    """In place, after ``tidy``: volatile text masked, metadata reduced to what matters, identifiers from the source."""
    mask, used = Mask(working_folder), {}
    for cell in notebook.cells:
        cell["id"] = identifier(cell, used)
        cell.metadata = type(cell.metadata)({k: v for k, v in cell.metadata.items() if k in ("tags", "jupyter")})
        for output in cell.get("outputs", []):
            mask_output(output, mask)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("text") != ""]
    notebook.metadata = type(notebook.metadata)(
        kernelspec={"display_name": "Python 3", "language": "python", "name": "python3"},
        language_info={"name": "python"})
    notebook.nbformat, notebook.nbformat_minor = 4, 5


def mask_output(output, mask):
    if output["output_type"] == "stream":
        output["text"] = mask(output["text"])
    for kind, content in output.get("data", {}).items():
        if kind.startswith("text/") and isinstance(content, str):
            output["data"][kind] = mask(content)
        elif kind == "image/png":
            output["data"][kind] = smaller(content)


def smaller(png64):
    """A picture with a palette, base64: notebooks are cloned by everyone."""
    from cardiac_ml.heart3d.film import few_colours
    return base64.b64encode(few_colours(base64.b64decode(png64))).decode("ascii")


def identifier(cell, used):
    """A cell's identifier from its words, so that it stays when other cells come and go."""
    digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
    used[digest] = used.get(digest, 0) + 1
    return digest if used[digest] == 1 else f"{digest}-{used[digest]}"
