"""Explanations, scored: where a network's attribution lies, against area, a centred blob and a network of noise."""
