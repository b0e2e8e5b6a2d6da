"""What one dongle of a group is handed of the other's frames."""
