"""Configuration of a run, the meaning of its keys, and the run id made from them."""
