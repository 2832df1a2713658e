"""Search for hyper-parameters: trials as populations, chosen configurations on fresh seeds.

  python bin/search.py --config=configs/search_digits.py
  python bin/search.py --config=configs/search_digits.py --config.methods=ft,msg --workers=2
  python bin/search.py --config=configs/search_digits.py --export=tuned

Running the same command again goes on where it stopped: trials that are done are told to the
sampler again, which then draws the same ones as before. What was found is used by
--config.tuned=RUN (or a folder made by --export) in any other study. Exit codes as those of
bin/sweep.py.
"""

import functools

from jaxmu.command import cli, endings, run_search

main = run_search.main
flags = functools.partial(run_search.flags, __doc__)

if __name__ == "__main__":
  endings.leave(cli.run(main, flags()))
