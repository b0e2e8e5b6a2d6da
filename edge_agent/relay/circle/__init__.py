"""Whether what is relayed goes round in a circle."""
