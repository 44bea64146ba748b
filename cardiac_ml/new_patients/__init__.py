"""Irregular heartbeats of people never seen: raw MIT-BIH records, whole patients held out."""


def download(folder=None):
    """Fetch the 48 raw MIT-BIH records from PhysioNet into mitdb/ (or ``folder``) through wfdb, and check them."""
    from cardiac_ml.download import physionet
    return physionet.fetch("mit-bih", folder)
