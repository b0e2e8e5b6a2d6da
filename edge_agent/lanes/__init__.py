"""From batches to packets that wait for the server's ack, in memory and on disk."""
