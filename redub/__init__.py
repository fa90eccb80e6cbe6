"""redub: folders of footage in, movie dubbers and dubbed clips out."""

__version__ = "0.1.0"
