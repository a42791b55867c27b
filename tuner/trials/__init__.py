"""Bookkeeping of trials and finalists: what is begun, what is stopped, what is best."""
