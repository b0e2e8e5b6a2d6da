"""The parts of binary formats: what their objects, blocks and packets hold."""
