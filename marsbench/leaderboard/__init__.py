"""Leaderboard: submissions, their validation and re-scoring, the board and its app."""
