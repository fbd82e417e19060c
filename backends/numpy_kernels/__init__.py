"""Reference kernels: what every other backend must compute."""
