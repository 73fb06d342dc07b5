"""Measurements; none is part of the test suite."""
