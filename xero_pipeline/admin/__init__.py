"""The admin page and its HTTP API. `app.create_app` builds it; importing the package opens nothing."""
