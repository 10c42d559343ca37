"""Reading and atomic writing of the weights of a module as safetensors."""

import os
import re
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from aepretrain.errors import StorageError
from aepretrain.storage.files import storing, sync_folder
from aepretrain.storage.guard import open_part, open_regular


def write_weights(path: Path, module: nn.Module) -> None:
    """Write the weights of a module atomically: the previous file is kept until the new one is on disk.

    Raises:
        StorageError: If the file cannot be written; the previous one is kept.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> write_weights(path, nn.Linear(3, 2))
        >>> read_weights(path, nn.Linear(3, 2))
    """
    with storing(path, sum(tensor.nbytes for tensor in module.state_dict().values())):
        part, file = open_part(path)
        try:
            file.close()
            save_model(module, str(part))
            with part.open("r+b") as file:  # Windows forces no file onto the disk that is open for reading alone
                os.fsync(file.fileno())
            part.replace(path)
        except (OSError, SafetensorError) as error:
            part.unlink(missing_ok=True)
            raise as_os_error(error) from error
        sync_folder(path.parent)


def read_weights(path: Path, module: nn.Module) -> None:
    """Load the weights of a file into a module; names and shapes must match.

    Raises:
        StorageError: If the file is damaged or does not fit the module.
    """
    try:
        open_regular(path).close()
        load_model(module, str(path), strict=True)
    # A type that torch has no name for is a KeyError.
    except (OSError, RuntimeError, SafetensorError, KeyError, TypeError, ValueError, MemoryError) as error:
        raise StorageError(f"{path} cannot be read: {' '.join(str(error).split())}. Start the run again.") from error


def as_os_error(error: Exception) -> OSError:
    """Convert an error of safetensors, which gives the errno only in its text, to an ``OSError``.

    Example:
        >>> as_os_error(SafetensorError("Error while serializing: I/O error: ... (os error 28)"))
        OSError(28, 'No space left on device')
    """
    if isinstance(error, OSError):
        return error
    number = re.search(r"os error (\d+)", str(error))
    return OSError(str(error)) if number is None else OSError(int(number[1]), os.strerror(int(number[1])))
