"""Scripts by which a shell completes the command `jaxmu`: commands, configs, methods, entries."""

from jaxmu.command import config_file
from jaxmu.errors import SettingsError, closest

SHELLS = {
  "bash": """\
_jaxmu() {{
  local first="${{COMP_WORDS[1]}}" word="${{COMP_WORDS[COMP_CWORD]}}"
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{commands}" -- "$word"))
  elif [ "$COMP_CWORD" -eq 2 ] && [[ " {studies} config " == *" $first "* ]]; then
    COMPREPLY=($(compgen -W "{configs}" -- "$word") $(compgen -f -- "$word"))
  elif [ "$first" = methods ]; then
    COMPREPLY=($(compgen -W "{methods}" -- "$word"))
  elif [[ "$word" == --* ]]; then
    COMPREPLY=($(compgen -W "{entries}" -S = -- "$word"))
  else
    COMPREPLY=($(compgen -f -- "$word"))
  fi
}}
complete -o nospace -F _jaxmu jaxmu""",
}
SHELLS["zsh"] = "autoload -U +X bashcompinit && bashcompinit\n" + SHELLS["bash"]


def script(shell: str) -> str:
  """Return the script for bash or zsh; SettingsError for another shell."""
  from jaxmu import settings
  from jaxmu.command import program
  from jaxmu.unlearning import every

  if shell not in SHELLS:
    raise SettingsError(f"there is no completion for '{shell}'; {closest(shell, SHELLS)}")
  studies = [name for name, command in program.COMMANDS.items() if command.config]
  words = {
    "commands": program.COMMANDS,
    "studies": studies,
    "configs": config_file.shipped(),
    "methods": every(),
    "entries": [f"--{name}" for name in settings.schema()],
  }
  return SHELLS[shell].format(**{name: " ".join(some) for name, some in words.items()})
