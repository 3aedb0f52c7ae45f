"""Downloads from the web and safe unpacking of archives."""
