"""Helpers for machine learning in cardiac electrophysiology: load, train, score and draw.

The core, a file a subject; each reads alone, and most can be copied alone:

    files              where data lie, writing without halves, one fingerprint, DataError
    leads              ten electrodes -> twelve leads
    activation         activation times and action potential durations
    heartbeats         tasks 1 and 2: CSV files -> Heartbeats, and their splits
    intracardiac       tasks 3 and 4: pairs of files -> Intracardiac, and its splits
    models             1-D networks, losses, augmentations
    training           fit, predict, save, load
    metrics            scores as plain functions, and one bootstrap over patients or hearts
    plots              heartbeats, 12-lead paper, learning curves, bars

Annexes, each a subject of its own that nobody has to open who does not need it:

    formats            the files of both datasets, to the letter: found, checked, read into one cache, and written
    virtual            virtual hearts: the physics of ventricles, waves, cells and torso
    heart3d            the heart as a mesh: recording points, maps, films, the heart that turns
    challenge          submissions, scores, a board, making a challenge
    lead_importance    which leads matter
    new_patients       raw MIT-BIH records, whole patients held out
    xray               a box around the heart on a chest X-ray
    check              is this set-up as the kit needs it?
    download           real data in one line, when asked
    exercises          check an answer
    trained            networks trained for long, with their cards
    predict            one's own ECG: its usual beat, and the map that the networks of tasks 3 and 4 see in it

``from cardiac_ml import heartbeats`` loads one of them; importing the package itself imports nothing heavy.
"""
__version__ = "0.2.0"
