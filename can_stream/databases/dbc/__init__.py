"""DBC files that load only in part: what they say, and what of it can be used."""
