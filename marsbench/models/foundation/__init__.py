"""Foundation models: published transformers for images of the Earth, of Mars and from the web."""
