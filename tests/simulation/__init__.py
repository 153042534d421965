"""
Whole runs on a virtual clock against a simulated fleet, thousands of them, each from a seed.

Everything is the product's own but three things: time passes only when nobody has anything to do,
the network ends at `httpx.AsyncBaseTransport`, and SQL runs in the calling thread, so that a commit
has happened before the clock moves. `python -m tests.simulation --help` says how to use it.
"""
