"""One module per change of `recording.sqlite3`, in order. Until 0004 everything was in one file."""
