"""Irregular heartbeats of people never seen: raw MIT-BIH records, whole patients held out."""
