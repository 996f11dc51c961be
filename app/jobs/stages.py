"""The stages of a training, in the order in which they are shown as a line."""

STARTING = "Starting"
EVALUATION = "Evaluation"
PUBLISHING = "Publishing"

# What a job says it does comes first; the rest of this line shows what follows.
STAGES = (STARTING, "Comparison", "Features", "Fitting", EVALUATION, PUBLISHING)
