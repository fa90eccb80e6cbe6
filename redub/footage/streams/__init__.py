"""Which stream, channel and time of a media file to use."""
