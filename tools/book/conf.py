"""The settings of the book, for Sphinx. ``python -m tools.book`` gathers the pages and calls it."""
import sys
from pathlib import Path
from textwrap import indent

sys.path.insert(0, str(Path(__file__).parents[2]))  # the docstrings of this very kit

project, author = "Cardiac ML", "the cardiac_ml contributors"
copyright = f"{author}, MIT licence"
extensions = ["myst_nb", "sphinx.ext.autodoc"]
nb_execution_mode = "off"  # the outputs are those that were committed
nb_merge_streams = True
myst_heading_anchors = 4
autodoc_member_order, autodoc_inherit_docstrings = "bysource", False
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme, html_title = "furo", project
html_static_path, html_css_files = ["static"], ["book.css"]
html_copy_source = html_show_sourcelink = False
html_show_search_summary = False  # it would ask for the pages found, which a folder without a server refuses
html_show_sphinx = False
pygments_style, pygments_dark_style = "friendly", "github-dark"


def as_typed(app, what, name, value, options, lines):
    """A paragraph of a docstring that is indented, or set in columns, is shown letter for letter."""
    parts = "\n".join(lines).split("\n\n")
    typed = [any(line.startswith("  ") for line in part.split("\n")) for part in parts]
    lines[:] = "\n\n".join("::\n\n" + indent(part, "   ") if kept else part
                           for part, kept in zip(parts, typed)).split("\n")


def setup(app):
    app.connect("autodoc-process-docstring", as_typed)
