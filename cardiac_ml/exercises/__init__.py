"""Exercises that answer in the notebook: ``check("task3.1", answer)`` says right, not yet, or not answered.

``answers.py`` has what is right: fixed answers as hashes, so that reading it does not give them away, and functions
that work out those which depend on the data. ``hash_of("task3.1", "lead")`` is the hash of a new one.
"""
import hashlib
import re

import numpy as np

from cardiac_ml.exercises.answers import COMPUTED, FIXED, numbers
from cardiac_ml.files import DataError


def check(exercise, answer, **context):
    """Say whether ``answer`` is right; ``...`` stands for 'not answered yet'.

    Numbers may be given as a share or in percent, texts in any case. ``context``: what the right answer depends on.
    """
    if answer is ... or (isinstance(answer, (list, tuple)) and any(one is ... for one in answer)):
        print("Not answered yet: put your answer in place of the three dots.")
        return
    if exercise not in FIXED and exercise not in COMPUTED:
        raise DataError(f"There is no exercise {exercise!r}. There are {', '.join(sorted({*FIXED, *COMPUTED}))}.")
    *_, hint = FIXED.get(exercise) or COMPUTED[exercise]
    try:
        good = is_right(exercise, answer, context)
    except Exception as error:  # a learner's answer can be anything; the notebook goes on
        print(f"Not yet: {type(error).__name__}: {error}. {hint}")
        return
    print("Right!" if good else f"Not yet. {hint}")


def is_right(exercise, answer, context):
    if exercise in FIXED:
        return any(hash_of(exercise, form) in FIXED[exercise][0] for form in forms(answer))
    function, tolerance, _ = COMPUTED[exercise]
    right = function(**context)
    return bool(right(answer)) if callable(right) else same(answer, right, tolerance)


def same(answer, right, tolerance):
    """Texts alike but for case and blanks, sets and lists in any order of a set; numbers within the tolerance."""
    if isinstance(right, (set, frozenset)):
        return {plain(one) for one in np.atleast_1d(list(answer))} == {plain(one) for one in right}
    if isinstance(right, str) or (np.ndim(right) == 1 and isinstance(right[0], str)):
        return [plain(one) for one in np.atleast_1d(answer)] == [plain(one) for one in np.atleast_1d(right)]
    return any(np.shape(number) == np.shape(right) and np.allclose(number, right, rtol=tolerance, atol=1e-9)
               for number in numbers(answer))


def plain(text):
    return re.sub(r"[\s\"'().]+", "", str(text)).lower()


def forms(answer):
    """What an answer may be hashed as: its plain text, or its number with two digits, neighbours included."""
    yield plain(answer)
    try:
        for number in numbers(answer):
            yield from (f"{round(float(number), 2) + step:.2f}" for step in (0, 0.01, -0.01))
    except (TypeError, ValueError):
        pass


def hash_of(exercise, form):
    return hashlib.sha256(f"{exercise}|{form}".encode()).hexdigest()[:10]
