"""Builds the counterpart and prints where it is: python -m bench.counterpart."""

from . import program

print(program())
