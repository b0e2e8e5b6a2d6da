"""Logs as they are played: which frames, at what pace, read ahead."""
