"""Two single-threaded CPU devices and the compilation cache, as the programs in bin/ set them up."""

from jaxmu import runtime

runtime.configure(2)
