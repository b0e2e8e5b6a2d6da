"""What agent and server say to each other: batches, packets, messages, sessions. No I/O."""
