"""What `polypool demo` runs: images, sentences and graphs through the same pooling objects.

Needs the extra `demo`; `polypool.demo.tour` is the whole, and each of `images`, `sentences` and `graphs` a part.
"""
