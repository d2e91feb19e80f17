"""Workers: one loop, run by as many processes as there are cores, GPUs or hosts."""
