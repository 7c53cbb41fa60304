"""The audit of a data set: what in slices, labels and splits would make good numbers untrue."""
