"""Benchmarks: each measures a hot path beside what one would use instead, interleaved in one run.

`python bench/NAME.py` prints its figures. `make bench` runs every file here that has a `main`, and
writes what they print into docs/performance.md. What a benchmark prints:

- For each comparison `name ratio ours peer`, for people. The ratio says how many times better ours is.
- For each row of a table a line with one JSON object, for the page. Its members are the columns, their names
  the headings (`core_percent` becomes "core percent"), their values strings, numbers, booleans or null. Rows
  that follow each other and have the same members are one table. A comparison has `name` and `ratio`.
- `{"skipped": "what, and what it needs"}` for what cannot be measured here.

The exit status is not 0 where a requirement is not met. `bench/report.py` does this for those that use it.
"""
