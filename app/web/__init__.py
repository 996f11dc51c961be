"""The shared edge: rendering, problem answers, dependencies, security headers, assets."""
