"""Crystals become graphs, once: sources, the neighbor graph, the LMDB store, batches."""
