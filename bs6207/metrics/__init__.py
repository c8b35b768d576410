"""How good is it: scores of clusters and of restored images."""
