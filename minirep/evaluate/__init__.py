"""Measure a classifier on recordings with known labels."""
