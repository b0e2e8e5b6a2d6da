"""Where frames come from: buses and logs."""
