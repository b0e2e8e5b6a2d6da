"""Groups: two dongles as one."""
