"""The parts of a PEAK trace: its header, its layouts, and its lines, alone and in columns."""
