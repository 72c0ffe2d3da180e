from gdkernels.definition.optimizers import *
