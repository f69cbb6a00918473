"""Joins by looking keys up in a snapshot of the dimension, in Spark's Python workers."""
