"""Features of images: computing them (`extraction`) and keeping them (`feature_store`)."""
