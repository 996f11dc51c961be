"""Magic click: from a click, a stroke or a box on one image to the mask of what was meant.

Nothing is learned beforehand and nothing from other images: the frozen maps of a backbone say which places of this very
image look alike, and the image's own edges say where the thing ends. `prompts` is what a hand gives, `windows` the
parts of the image that are looked at, `maps` and `scoring` how alike their places are, `candidates` the outlines that
come into question and the choice among them, `proposal` all of it in order, `service` the edge towards images.
"""
