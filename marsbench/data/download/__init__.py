"""Transfer of files from the web and safe unpacking of archives."""
