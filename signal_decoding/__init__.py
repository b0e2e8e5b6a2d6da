"""One compiled signal table and its evaluation over batches, used by agent and server (pure)."""
