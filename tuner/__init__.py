"""Searches over the hyperparameters of `model`, fed by `graphdb`: `python -m tuner.search`."""
