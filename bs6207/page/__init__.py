"""One offline HTML page of finished runs."""
