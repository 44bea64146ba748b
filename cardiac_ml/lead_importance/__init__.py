"""Which leads matter: Shapley values of leads, one network for every set of leads, recordings of twelve leads."""


def download(name, folder=None):
    """Fetch the records of a hospital, "ptb-xl" or "chapman", from PhysioNet into a folder so named (or ``folder``).

    Tens of thousands of small files: hours, in as many goes as you like. Of PTB-XL only the records of 100 Hz.
    """
    from cardiac_ml.download import SETS, physionet
    from cardiac_ml.files import DataError
    if name not in ("ptb-xl", "chapman"):
        raise DataError(f"{name!r} is no set of twelve-lead records; there are 'ptb-xl' and 'chapman'.")
    return physionet.fetch(name, folder)
