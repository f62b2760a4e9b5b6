"""One module a family of cases: which contestants, on which work, and what is claimed of them."""
