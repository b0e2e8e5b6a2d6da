"""What a group's other side puts on a bus of this gateway."""
