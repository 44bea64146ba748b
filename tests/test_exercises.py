import numpy as np
import pytest

from cardiac_ml.exercises import check


@pytest.mark.parametrize("answer, right, said", [
    (..., 3, "Not answered yet"), (3, 3, "Right!"), (3.01, 3, "Right!"), (4, 3, "Not yet. Count"),
    (" v1 ", "V1", "Right!"), ({"I", "II"}, {"II", "I"}, "Right!"), (["I"], {"II", "I"}, "Not yet"),
    (np.array([1.0, 2.0]), [1, 2], "Right!"), ([1, 2, 3], [1, 2], "Not yet"), (7, lambda a: a > 5, "Right!"),
    ("x", lambda a: a > 5, "TypeError"), (None, 3, "Not yet"),
])
def test_an_answer_gets_an_answer(capsys, answer, right, said):
    check(answer, right, hint="Count again.")
    assert said in capsys.readouterr().out
