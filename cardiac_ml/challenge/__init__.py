"""A challenge of one's own: hearts to hand out, submissions, scores, a board.

>>> from cardiac_ml import challenge
>>> train, valid, test = challenge.load("public", task=3)           # doctest: +SKIP
>>> challenge.submit(test, prediction, team="Purkinje")             # doctest: +SKIP
"""


def __getattr__(name):
    """``load``, ``submit`` and ``test_cases``, fetched when asked for: the scorer alone needs none of the loaders."""
    if name in ("load", "submit", "test_cases"):
        from cardiac_ml.challenge import cases
        return getattr(cases, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
