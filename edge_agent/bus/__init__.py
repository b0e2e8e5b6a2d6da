"""Buses and what reads them: batches of frames, and how each bus stands."""
