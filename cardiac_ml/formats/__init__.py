"""The files of both datasets, to the letter: found, checked, read into one cache, and written."""
