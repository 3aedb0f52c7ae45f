"""Vision-language models, which answer with the name of a class."""
