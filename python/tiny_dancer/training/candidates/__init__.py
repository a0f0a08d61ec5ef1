"""Scorers of candidates: trained on questions whose evidence is known, or on how answers were used."""
