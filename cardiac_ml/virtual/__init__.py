"""Virtual hearts: physics, and ``writing``, which puts them into files. Read in this order:

population (who the patients are), anatomy (two ventricles, fibres), mesh (tetrahedra), points (the 75 recording
points), conduction (when a front arrives), patterns (where it starts), membrane (what one cell does), signals (voltages
from times), torso (the skin), patient (all of it for one heart), dataset (many hearts), published (with the quirks of
the real files). Then rhythm and beats (heartbeats), elsewhere (another world, to test on), and kept (in the cache).
"""
