"""Messages to the workers. They carry ids only; the job row is the truth."""
