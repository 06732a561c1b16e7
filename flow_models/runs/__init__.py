"""One run: settings, command line, folder, report, MLflow."""
