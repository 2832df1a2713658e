"""`python -m jaxmu`: the command `jaxmu`."""

from jaxmu.command import program

if __name__ == "__main__":
  program.run()
