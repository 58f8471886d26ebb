"""The admin page and its HTTP API. `app.create_app` puts it together; nothing is opened by importing it."""
