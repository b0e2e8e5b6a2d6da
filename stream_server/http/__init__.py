"""HTTP: the API, the page, OpenAPI."""
