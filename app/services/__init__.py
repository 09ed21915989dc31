"""The rules of the product, each written once. Functions of a session first."""
