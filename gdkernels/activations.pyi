from gdkernels.definition.activations import *
