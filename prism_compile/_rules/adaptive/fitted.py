"""The fitted numbers of the rule "adaptive"; twice or half of each changes tools/spectra by a few percent."""

HIDDEN = 3.24
SHORT = 0.265
VISIBLE = 0.187
EXACT = 0.25
SOONER = 0.1
