"""Human readers beside the model: their reads, their accuracy, agreement and time, and what may be concluded."""
