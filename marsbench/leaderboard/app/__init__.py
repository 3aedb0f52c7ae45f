"""The app that shows the board in a browser: a Space of the Hugging Face hub, or served locally."""
