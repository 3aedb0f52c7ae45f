"""Model cards for the Hugging Face hub: text, metadata, picture and files of a finished model."""
