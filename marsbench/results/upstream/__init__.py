"""Results of the Mars-Bench code base (https://github.com/kerner-lab/Mars-Bench)."""
