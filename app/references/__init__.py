"""Reference images (golden templates): what the images of a project are compared with."""
