"""Benchmarks of jina-local: `python -m benchmarks`, or `make bench`.

Each module measures one thing and returns plain data; `__main__` runs them and writes the results
with the machine, the versions and the commit beside them. Nothing here is asserted in timed tests.
"""
