"""Labels as other tools write them, read into the shapes of `app.contracts.shapes`. Pure functions of bytes."""
