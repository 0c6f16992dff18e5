"""The open experiment of notebook 03: take the defect off, and spare the part."""

from diffad_lib.course.exercises.measuring import Experiment, Goal
from diffad_lib.course.exercises.repairing import ERROR, KEPT, repaired

EXPERIMENT = Experiment("03", repaired, (Goal(KEPT, below=0.33), Goal(ERROR, below=0.042)))
