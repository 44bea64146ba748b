"""The heart in three dimensions: mesh and points, maps on its surface, films, the heart that turns."""
