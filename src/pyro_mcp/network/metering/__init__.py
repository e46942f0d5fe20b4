"""What a request to the API of a model may use, and what its answer says that it used."""
