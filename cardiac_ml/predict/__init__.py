"""One's own ECG: from a file to the beat that the networks of tasks 3 and 4 know, and to a page with their answers."""
