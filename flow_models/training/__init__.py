"""`fit`: compiled steps, sources of batches, losses, checkpoints, devices."""
