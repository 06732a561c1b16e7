"""What all rooms stand on: errors, storage, serialisation, start-up."""
