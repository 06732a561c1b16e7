"""Tables: the user's own and those inside packages."""
