"""One job a heart, on as many processors as there are."""
from joblib import Parallel
from tqdm.auto import tqdm


def in_order(jobs, workers, progress, what="virtual hearts"):
    """Yields what a list of ``joblib.delayed`` jobs makes, in their order; ``workers`` None: all processors."""
    made = Parallel(n_jobs=workers or -1, return_as="generator")(jobs)
    yield from tqdm(made, total=len(jobs), desc=what, unit="heart", disable=not progress)
