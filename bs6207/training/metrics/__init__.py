"""Scores of clusters and of restored images."""
