"""Files that are written whole or not at all, and read back with one-line errors."""

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from jaxmu.errors import StoreError
from jaxmu.store import private_names
from jaxmu.store.attempts import NO_LINKS
from jaxmu.store.private_names import writing

if TYPE_CHECKING:
  import pyarrow as pa

SEAL = "sha256"
_SEALED = re.compile(rb'(.*)\n "sha256": "([0-9a-f]{64})"\n}\n', re.DOTALL)


def replace(path: Path, write: Callable[[BinaryIO], Any], sync: bool = True) -> None:
  """Let `write` fill a file beside `path`, then rename it: readers see the old file or the new one.

  Of several writers the last one wins. With `sync` the file also survives a power cut; on a busy
  disk that may take seconds.

  Raises:
    StoreError: the folder cannot be written, or the disk is full.
  """
  with writing(path), _filled(path, write, sync) as temporary:
    temporary.replace(path)
    if sync:
      private_names.sync(path.parent)


def write_new(path: Path, write: Callable[[BinaryIO], Any]) -> bool:
  """Let `write` fill a new file, whole or not at all; False where `path` exists already.

  Of several writers exactly one gets True.

  Raises:
    StoreError: the folder cannot be written, or the disk is full.
  """
  with writing(path), _filled(path, write, sync=True) as temporary:
    won = _claim(temporary, path)
    private_names.sync(path.parent)
  return won


def write_json(path: Path, value: Any, sync: bool = True) -> None:
  """Write `value` as JSON; records become objects, NumPy numbers and arrays plain ones."""
  text = json.dumps(value, indent=1, default=plain_value)
  replace(path, lambda file: file.write(text.encode() + b"\n"), sync)


def read_json(path: Path) -> Any:
  """Read a JSON file.

  Raises:
    StoreError: it is absent or damaged.
  """
  with reading(path):
    return json.loads(path.read_text(encoding="utf-8"))


def write_sealed(path: Path, value: Any, sync: bool = True) -> None:
  """Write a record or mapping as a JSON object that ends with the SHA-256 of all bytes before.

  Raises:
    StoreError: the folder cannot be written, or the disk is full.
  """
  text = sealed(value)
  replace(path, lambda file: file.write(text), sync)


def sealed(value: Any) -> bytes:
  """Return what `write_sealed` writes."""
  rest = plain(value)
  if not isinstance(rest, dict) or SEAL in rest:
    raise TypeError(f"only an object without an entry '{SEAL}' can be sealed")
  body = json.dumps(rest, indent=1).removesuffix("}").rstrip() + ("," if rest else "")
  return f'{body}\n "{SEAL}": "{hashlib.sha256(body.encode()).hexdigest()}"\n}}\n'.encode()


def read_sealed(path: Path) -> dict[str, Any]:
  """Read what `write_sealed` wrote, without the SHA-256.

  Raises:
    StoreError: it is absent, or one bit of it differs from what was written.
  """
  with reading(path):
    content = path.read_bytes()
  found = _SEALED.fullmatch(content)
  if not found or hashlib.sha256(found[1]).hexdigest().encode() != found[2]:
    raise damaged(path, "it does not have its SHA-256")
  value = json.loads(content)
  del value[SEAL]
  return value


def write_table(
  path: Path, rows: Sequence[Mapping[str, Any]], order: Sequence[str] = (), sync: bool = True
) -> None:
  """Write rows as parquet; equal rows give equal bytes.

  Columns named in `order` come first, then the others as they appear. A column is bool, int64 or
  string if all its values are, otherwise float64.
  """
  import pyarrow.parquet

  table = _arrow(rows, order)
  write = lambda file: pyarrow.parquet.write_table(table, file, compression="zstd", version="2.6")
  replace(path, write, sync)


def write_array(path: Path, array: np.ndarray, sync: bool = True) -> None:
  """Write an array as .npy; nothing in it is pickled."""
  values = np.asarray(array)
  replace(path, lambda file: np.save(file, values, allow_pickle=False), sync)


def append_line(path: Path, line: str) -> None:
  """Append a line; if a kill tore the last one, start a new one first.

  Raises:
    StoreError: the file cannot be written, or the disk is full.
  """
  with writing(path), path.open("ab+") as file:
    if file.tell() and _last_byte(file) != b"\n":
      line = "\n" + line
    file.write(line.encode() + b"\n")


def read_lines(path: Path) -> list[Any]:
  """Return the JSON values of the lines of a file, leaving out those that a kill tore.

  Raises:
    StoreError: the file cannot be read.
  """
  with reading(path):
    lines = path.read_bytes().splitlines() if path.exists() else []
  found = []
  for line in lines:
    try:
      found.append(json.loads(line))
    except ValueError:
      continue
  return found


def digests(folder: Path) -> dict[str, tuple[int, str]]:
  """Return size in bytes and SHA-256 of every file in a folder and below, by relative path."""
  found = sorted(path for path in folder.rglob("*") if path.is_file())
  return {str(path.relative_to(folder)): (path.stat().st_size, sha256(path)) for path in found}


def sha256(path: Path) -> str:
  """Return the SHA-256 of a file's bytes as hexadecimal digits."""
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def verify(folder: Path, stored: Mapping[str, tuple[int, str]]) -> None:
  """Check that the files of a folder are those that `digests` described.

  Raises:
    StoreError: one is absent, of another size or has other bytes; the message names the first.
  """
  for name, (size, digest) in stored.items():
    path = folder / name
    if not path.is_file():
      raise StoreError(f"{name} is not there")
    if path.stat().st_size != size or sha256(path) != digest:
      raise StoreError(f"{name} does not have its stored SHA-256")


@contextmanager
def reading(path: Path) -> Iterator[None]:
  """Turn what readers raise on absent or damaged files into a StoreError of one line."""
  try:
    yield
  except FileNotFoundError:
    raise StoreError(f"{path} does not exist; run the same command again to make it") from None
  except (OSError, ValueError, EOFError, RecursionError) as error:
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    if isinstance(error, OSError) and error.errno is not None:  # pyarrow's, on damage, has none
      raise StoreError(f"cannot read {path}: {error.strerror or reason}") from None
    raise damaged(path, reason) from None


def damaged(path: Path, reason: str) -> StoreError:
  """Return the error that a file cannot be used."""
  return StoreError(f"{path} is damaged ({reason}); delete it and run the same command again")


def plain(value: Any) -> Any:
  """Return what reading the value back from JSON gives (lists for tuples, objects for records)."""
  return json.loads(json.dumps(value, default=plain_value))


def plain_value(value: Any) -> Any:
  """Return a plain value for a record, a NumPy value or a path.

  Of a record (a dataclass), fields that have their default are left out.
  """
  if dataclasses.is_dataclass(value):
    fields = ((field, getattr(value, field.name)) for field in dataclasses.fields(value))
    return {field.name: entry for field, entry in fields if entry != field.default}
  if isinstance(value, np.generic | np.ndarray):
    return value.tolist()
  if isinstance(value, Path):
    return str(value)
  if isinstance(value, bool | int | float | str | None):
    return value
  raise TypeError(f"cannot store a {type(value).__name__}: {value!r}")


@contextmanager
def _filled(path: Path, write: Callable[[BinaryIO], Any], sync: bool) -> Iterator[Path]:
  """Give a private file beside `path` that `write` has filled; it is gone afterwards."""
  private_names.sweep(path.parent, path.name)
  temporary = private_names.private(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  try:
    with temporary.open("wb") as file:
      write(file)
      file.flush()
      if sync:
        os.fsync(file.fileno())
    yield temporary
  finally:
    temporary.unlink(missing_ok=True)


def _claim(temporary: Path, path: Path) -> bool:
  """Give a whole file its name unless that is taken."""
  try:
    os.link(temporary, path)
  except FileExistsError:  # also said by NFS where a repeated request had made the link before
    return temporary.stat().st_nlink == 2
  except OSError as error:
    if error.errno not in NO_LINKS:
      raise
    try:
      os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
      return False
    temporary.replace(path)
  return True


def _last_byte(file: BinaryIO) -> bytes:
  file.seek(-1, os.SEEK_END)
  return file.read(1)


def _arrow(rows: Sequence[Mapping[str, Any]], order: Sequence[str]) -> "pa.Table":
  import pyarrow as pa

  known = dict.fromkeys(name for row in rows for name in row)
  names = [*(c for c in order if c in known), *(c for c in known if c not in order)]
  return pa.table([_column([row.get(name) for row in rows]) for name in names], names=names)


def _column(values: Sequence[Any]) -> "pa.Array":
  import pyarrow as pa

  values = [plain_value(value) for value in values]
  kinds = {type(value) for value in values}
  types = {bool: pa.bool_(), int: pa.int64(), str: pa.string()}
  if len(kinds) == 1 and (kind := kinds.pop()) in types:
    return pa.array(values, types[kind])
  return pa.array([float("nan") if v is None else float(v) for v in values], pa.float64())
