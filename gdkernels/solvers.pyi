from gdkernels.definition.solvers import *
