//! FastGRNN (Kusupati et al. 2018): the cell in its f32, int8, int4 and sparse forms.
