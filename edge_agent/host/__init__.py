"""The machine: its clock, its memory, its directories, its interfaces and adapters."""
