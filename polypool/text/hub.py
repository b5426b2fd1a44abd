"""Where the files of a module are: in a folder, or in the cache of the Hugging Face hub, which fills it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from polypool._errors import first_line
from polypool.text import files
from polypool.text.config import FILE, ModelFolderError


def module_folder(
    model_name_or_path: str,
    subfolder: str = "",
    token: bool | str | None = None,
    cache_folder: str | None = None,
    revision: str | None = None,
    local_files_only: bool = False,
    **others: Any,
) -> Path:
    """The folder that holds `config.json`, and the weights where there are any, of a module of a model.

    Args:
        model_name_or_path: A folder, or the name of a model on the hub.
        subfolder: Where the module lies in it, such as `"1_Pooling"`.
        token: For a private model on the hub.
        cache_folder: Where models of the hub are kept.
        revision: Of a model on the hub.
        local_files_only: Whether not to ask the hub.
        **others: What sentence-transformers passes to every module, and no file depends on.

    Raises:
        ModelFolderError: It is no folder, and the hub has no such file.
    """
    if Path(model_name_or_path).is_dir():
        return Path(model_name_or_path, subfolder)
    from transformers.utils import cached_file

    hub = {"token": token, "cache_dir": cache_folder, "revision": revision, "subfolder": subfolder}
    hub["local_files_only"] = local_files_only
    try:
        config = cached_file(model_name_or_path, FILE, **hub)
        # A module without parameters has no such file.
        cached_file(model_name_or_path, files.WEIGHTS, _raise_exceptions_for_missing_entries=False, **hub)
    except OSError as error:
        raise ModelFolderError(
            f"{model_name_or_path} is no folder, and no {Path(subfolder, FILE)} of it was found on the hub: "
            f"{first_line(error)}."
        ) from error
    return Path(config).parent
