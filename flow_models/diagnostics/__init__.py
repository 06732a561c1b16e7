"""Numbers that say how good a trained flow is: functions of arrays, not of models or files."""
