"""Is this set-up as the kit needs it? ``python3 start.py check``: a line for each thing, and what to do about it.

``machine`` needs plain Python only, however old, so that it answers before anything is installed; ``kit`` looks at
data, networks and device with the packages; ``command`` is the command.
"""
