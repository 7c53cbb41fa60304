"""Tests and intervals that compare classifiers, readers and their AUCs; each names the paper it comes from."""
