"""A small language model: tokenizer, network, training and generation. No web, no database.

The letters of every shape in this package:
B rows of a batch · T positions · S positions that can be attended to · C width of the residual stream
H query heads · K key-value heads · D width of a head · V vocabulary · L layers
"""
