"""Visual words of local features, and the inverted index over them."""
