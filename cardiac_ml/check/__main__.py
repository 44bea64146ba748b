"""``python -m cardiac_ml.check [--json]``: the check, also in a Python without packages, or an old one."""
# Plain old syntax on purpose, as in machine.py.
import json
import os
import platform
import re
import sys

import cardiac_ml
from cardiac_ml.check import machine
from cardiac_ml.check.machine import FAIL, NOTE, row


def rows():
    """What plain Python can tell and then, where the packages are there, what they can."""
    blind = False
    for one in machine.rows():
        blind = blind or one.state == FAIL and one.name in ("Python", "packages")
        yield one
    if blind:
        yield row("the rest", "data, networks and device need the packages", "Once they are there, check again", NOTE)
        return
    try:
        from cardiac_ml.check import kit
    except Exception as error:  # a package that was half unpacked can stumble over anything
        yield row("packages", "do not import: {}: {}".format(type(error).__name__, error), "Delete .venv and then {} "
                  "(in an environment of yours: pip install --force-reinstall that package)".format(machine.SETUP))
        return
    for one in kit.rows():
        yield one


def commit():
    """The commit of a clone, "" elsewhere."""
    try:
        with open(os.path.join(machine.ROOT, ".git", "HEAD")) as file:
            head = file.read().strip()
        if head.startswith("ref: "):
            with open(os.path.join(machine.ROOT, ".git", *head[5:].split("/"))) as file:
                head = file.read().strip()
        return head[:10]
    except OSError:
        return ""


def main(arguments):
    """Print the rows as they come, or all as JSON; the status is 1 if anything failed."""
    unknown = [word for word in arguments if word != "--json"]
    if unknown:
        print("{} means nothing here: check takes --json, or the name of a submission file.".format(unknown[0]))
        return 2
    about = {"kit": cardiac_ml.__version__, "commit": commit(), "python": sys.version, "system": platform.platform()}
    found = []
    if "--json" not in arguments:
        print("cardiac_ml {kit} {commit} on {system}".format(**about), flush=True)
    for one in rows():
        found.append(one)
        if "--json" not in arguments:
            show(one)
    failed = [one.name for one in found if one.state == FAIL]
    if "--json" in arguments:
        known = {name: machine.version_of(name) for group in machine.requirements().values() for name, _ in group}
        print(json.dumps(dict(about, packages=known, rows=[one._asdict() for one in found]), indent=1))
    else:
        print("Not as it should be: {}.".format(", ".join(failed)) if failed else "Everything is as it should be.")
    return int(bool(failed))


def show(one):
    letters = sys.stdout.encoding or "utf-8"
    text = "{:<5}{:<13}{}".format(one.state, one.name, re.sub(r"\s+", " ", one.found))
    if one.remedy:
        text += "\n{:<18}-> {}".format("", one.remedy)
    print(text.encode(letters, "replace").decode(letters), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
