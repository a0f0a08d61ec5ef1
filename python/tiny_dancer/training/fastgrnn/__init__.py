"""FastGRNN: train, distil, prune and quantise a small gated recurrent cell (`train` extra; imports jax).

Kusupati et al. 2018, "FastGRNN: A Fast, Accurate, Stable and Tiny Kilobyte Sized Gated Recurrent Neural Network",
arXiv:1901.02358.
"""
