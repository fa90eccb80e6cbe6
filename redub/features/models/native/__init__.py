"""Native libraries of packages: a child process checks their hashes, and loads them."""
