"""Two single-threaded CPU devices and the compilation cache, as the programs in bin/ use them."""

from jaxmu import runtime

runtime.configure(2)
