"""Image flows beside normflows: workers of both libraries, what they are asked, and the page that
results."""
