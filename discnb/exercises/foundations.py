"""Exercises, see the chapters."""
