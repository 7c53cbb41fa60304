"""The page of an audited data set."""
