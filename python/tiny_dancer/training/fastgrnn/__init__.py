"""FastGRNN: train, distil, prune and quantise a small gated recurrent cell (extra `fastgrnn`: jax).

The plain competitor, reading examples and judging need the extra `train` alone.

Kusupati et al. 2018, "FastGRNN: A Fast, Accurate, Stable and Tiny Kilobyte Sized Gated Recurrent Neural Network",
arXiv:1901.02358.
"""
