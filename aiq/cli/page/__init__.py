"""The page that `aiq report` writes: its figures, its words, and the one file they become."""
