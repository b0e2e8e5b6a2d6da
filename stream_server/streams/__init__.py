"""Console streams: sampling, ids, the ring."""
