from gdkernels.definition.losses import *
