"""Pictures: what applications 2 and 3 share, and the detector of application 2."""
