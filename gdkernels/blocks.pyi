from gdkernels.definition.blocks import *
