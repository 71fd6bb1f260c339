"""Studies made with the product: in the repository, not in what is installed; run from the repository's root."""
