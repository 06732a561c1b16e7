"""Point sets whose density is known exactly."""
