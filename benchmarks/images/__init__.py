"""Image flows beside normflows: workers of both libraries, the plan, and the resulting page."""
