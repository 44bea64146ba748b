"""The mentors' edition of a notebook: its cells, with the answers and the advice of ``mentors.md`` beside them.

``mentors.md`` is made for reading: a chapter for each notebook (``#``), in it a part for each section (``##``, titled
as in the notebook) and for each exercise (``###``, named as in its ``check``; open ones by their number). The first
block of code of an exercise is its answer.
"""
import re
from pathlib import Path

from cardiac_ml.files import DataError

TEXT = Path(__file__).with_name("mentors.md")
HEADING = re.compile(r"^(#{1,3}) (.+)$")
CODE = re.compile(r"^```python\n(.*?)^```\n?", re.DOTALL | re.MULTILINE)
CHECKED = re.compile(r'^check\("([\w.]+)"', re.MULTILINE)
OPEN = re.compile(r"\*\*Exercise (\d+) \(open\)\.\*\*")
SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
PLACE = re.compile(r"^answer = .*$", re.MULTILINE)


def parts(text):
    """Chapters of such a text: name of the notebook -> {"": goals, title of a section or name of an exercise: text}."""
    chapters, lines, in_code = {}, [], False
    for line in text.splitlines(keepends=True):
        in_code ^= line.startswith("```")
        found = None if in_code else HEADING.match(line)
        if found and len(found[1]) == 1:
            chapter, lines = chapters.setdefault(found[2], {}), []
            chapter[""] = lines
        elif found:
            lines = chapter.setdefault(found[2], [])
        else:
            lines.append(line)
    return {name: {title: "".join(some).strip() for title, some in chapter.items()}
            for name, chapter in chapters.items()}


def exercises_of(notebook):
    """Names of all exercises, as ``mentors.md`` has them: those with a check, and the open ones by number."""
    text = "\n".join(cell.source for cell in notebook.cells)
    return CHECKED.findall(text) + [f"Exercise {number} (open)" for number in OPEN.findall(text)]


def sections_of(notebook):
    return [title for cell in notebook.cells if cell.cell_type == "markdown" for title in SECTION.findall(cell.source)]


def annotate(notebook, name, text=None):
    """In place: answers in their cells, and after each heading and exercise what a mentor should know."""
    from nbformat.v4 import new_markdown_cell
    chapter = parts(text or TEXT.read_text(encoding="utf-8")).get(name)
    if chapter is None:
        raise DataError(f"{TEXT} has no chapter '# {name}'. Write one: goals, sections, answers.")
    cells = []
    for number, cell in enumerate(notebook.cells):
        titles = CHECKED.findall(cell.source)
        if cell.cell_type == "markdown":
            titles = SECTION.findall(cell.source) + [f"Exercise {one} (open)" for one in OPEN.findall(cell.source)]
        notes = [(title, chapter[title]) for title in [""] * (number == 0) + titles if title in chapter]
        for title, note in notes:
            if cell.cell_type == "code" and (code := CODE.search(note)):
                cell.source = PLACE.sub(lambda _: code[1].rstrip(), cell.source, count=1)
        cells.append(cell)
        for title, note in notes:
            cells.append(new_markdown_cell(f"> **For mentors: {title or 'goals'}**\n>\n" + _quoted(CODE.sub("", note))))
    notebook.cells = cells


def _quoted(text):
    return "\n".join(f"> {line}".rstrip() for line in text.strip().splitlines())
