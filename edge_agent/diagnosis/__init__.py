"""Why there is no data: facts, and what to do."""
