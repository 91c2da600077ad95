"""vitreous: cryo-EM particle images into moving molecules."""

__version__ = "0.1.0"
