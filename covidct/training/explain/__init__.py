"""Grad-CAM of a trained run: maps, what they are compared with, pictures."""
