"""Workers of the comparison, one per library, and what they share."""
