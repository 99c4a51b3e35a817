"""Bytes to values and back. Holds no state, does no I/O, and knows nothing of connections."""
