"""The sides of benchmarks that are processes of their own: ours, and what it is compared with."""
