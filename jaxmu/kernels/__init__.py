"""How convolutions, products and pooling are computed here: lowerings and their passes."""
