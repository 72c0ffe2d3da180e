from gdkernels.definition.schedules import *
