"""A search on a cluster, from the user's own machine."""
