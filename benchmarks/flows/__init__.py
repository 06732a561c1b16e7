"""Workers of the comparison, one a library, and what they share."""
