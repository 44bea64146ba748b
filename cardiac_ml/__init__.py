"""Helpers for machine learning in cardiac electrophysiology: load, train, score and draw.

Each room is a module that reads alone: ``from cardiac_ml import heartbeats``. Importing the package itself imports
nothing heavy.
"""
__version__ = "0.1.0"
