"""Fakes are values: a zone that is text."""
