"""The demo film: synthetic actors with emotional speech; its ground truth is in separate files."""

from redub.footage.demo_film.film import make_film
from redub.footage.demo_film.plan import FilmSpec

__all__ = ["FilmSpec", "make_film"]
