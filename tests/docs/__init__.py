"""Holds what the documents say to what the code does."""
