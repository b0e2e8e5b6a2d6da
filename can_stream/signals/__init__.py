"""A compiled signal table, and its evaluation over batches."""
