"""Loops over nodes are slow in Python: numba translates them to machine code and keeps it on disk for the next run."""
from numba import njit


def compiled(function):
    """The function as machine code that releases Python's lock; kept on disk where a folder for that can be written."""
    options = dict(nogil=True, fastmath={"contract", "arcp", "reassoc", "nsz"})
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:   # a read-only installation without a home folder: translate it again in every process
        return njit(**options)(function)
