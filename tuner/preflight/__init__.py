"""What `python -m tuner.preflight` checks, one file per subject; each check returns findings and raises nothing."""
