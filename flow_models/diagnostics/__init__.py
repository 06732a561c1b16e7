"""Numbers that say how good a trained flow is: each a function of arrays, none of a model or a
file."""
