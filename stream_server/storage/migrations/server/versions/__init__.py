"""One module per change of `server.sqlite3`, in order."""
