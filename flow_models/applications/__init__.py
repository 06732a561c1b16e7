"""What the scripts of the seven applications share."""
