"""Which leads matter: Shapley values of leads, one network for every set of leads, recordings of twelve leads."""
