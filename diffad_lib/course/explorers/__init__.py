"""Explorers: one render function each, shown as a contact sheet, an HTML slider and a widget."""

from diffad_lib.course.explorers.drawing import drawing_explorer, paint, stroke
from diffad_lib.course.explorers.easel import easel
from diffad_lib.course.explorers.explorer import Explorer
from diffad_lib.course.explorers.guidance import guidance_explorer
from diffad_lib.course.explorers.reconstruction import Diffusion
from diffad_lib.course.explorers.synthesis import synthesis_explorer
from diffad_lib.course.explorers.threshold import threshold_explorer
from diffad_lib.course.explorers.timesteps import timestep_explorer
from diffad_lib.course.explorers.trajectory import trajectory_explorer
from diffad_lib.course.explorers.view import Parameter, View

__all__ = [
    "Diffusion",
    "Explorer",
    "Parameter",
    "View",
    "drawing_explorer",
    "easel",
    "guidance_explorer",
    "paint",
    "stroke",
    "synthesis_explorer",
    "threshold_explorer",
    "timestep_explorer",
    "trajectory_explorer",
]
