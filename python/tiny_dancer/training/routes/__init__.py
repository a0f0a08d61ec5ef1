"""Labelled texts → routes: heads over n-grams and embedding, prototypes, thresholds; chosen and calibrated out of
fold."""
