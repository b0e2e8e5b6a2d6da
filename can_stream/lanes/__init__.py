"""One lane between agent and server, as each side sees it: numbers, ranges, acks, holes."""
