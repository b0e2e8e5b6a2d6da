"""What error frames, counters and the kernel say of a bus."""
