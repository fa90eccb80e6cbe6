"""The demo film: synthetic actors who speak with feeling, with the ground truth kept aside."""

from redub.footage.demo_film.film import make_film
from redub.footage.demo_film.plan import FilmSpec

__all__ = ["FilmSpec", "make_film"]
