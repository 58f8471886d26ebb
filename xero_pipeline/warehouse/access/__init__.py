"""Who may use the admin page: persons and their roles, sessions, and the log of what people did."""
