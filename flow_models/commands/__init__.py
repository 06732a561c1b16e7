"""What `python -m flow_models` can do with a trained model, one module a command."""
