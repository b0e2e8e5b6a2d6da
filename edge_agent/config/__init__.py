"""The agent's file as Structs, each with its rules."""
