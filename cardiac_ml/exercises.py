"""Exercises that answer in the notebook: ``check(answer, right, hint)`` says right, not yet, or not answered."""
import numpy as np


def check(answer, right, hint="Look again at the cells above.", tolerance=1e-2):
    """Compare an answer with the right one, and say so. ``...`` stands for 'not answered yet'.

    ``right`` is a value (numbers may be off by the relative ``tolerance``, text by case and blanks), or a function
    that takes the answer and returns True or False.
    """
    if answer is ...:
        print("Not answered yet: put your answer in place of the three dots.")
        return
    try:
        good = bool(right(answer)) if callable(right) else _same(answer, right, tolerance)
    except Exception as error:  # a learner's answer can be anything; the notebook goes on
        print(f"Not yet: {type(error).__name__}: {error}. {hint}")
        return
    print("Right!" if good else f"Not yet. {hint}")


def _same(answer, right, tolerance):
    if isinstance(right, str):
        return str(answer).strip().lower() == right.strip().lower()
    if isinstance(right, (set, frozenset)):
        return set(answer) == set(right)
    answer, right = np.asarray(answer), np.asarray(right)
    if answer.shape != right.shape:
        return False
    return bool(np.allclose(answer, right, rtol=tolerance)) if right.dtype.kind in "fiu" else bool((answer == right).all())
