"""What a user needs to see what will work, and a maintainer to understand a report of a bug."""
