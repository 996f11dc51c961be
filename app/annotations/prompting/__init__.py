"""Visual prompting: a few strokes on a few images show a class, and every image of the project gets masks of it.

`strokes` keeps what people paint, `runs` asks the worker for masks and says how far it is, `masks` reads what came of
it and makes labels of it; `pages` is the screen.
"""
