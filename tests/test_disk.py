"""What the system says of files, as people are told it."""

import errno
import os
from pathlib import Path

import pytest

from xhmtp_wsgi.commands.whole_file import whole_file
from xhmtp_wsgi.disk import os_errors, sync_directory
from xhmtp_wsgi.errors import Forbidden, StorageFull, XHMTPError
from xhmtp_wsgi.maildir.files import opened
from xhmtp_wsgi.transfer.directory import new_directory


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_or_a_quota_that_is_full_is_said_to_be(number: int):
    with pytest.raises(StorageFull, match="no room left for the letters"), os_errors("the letters"):
        raise OSError(number, os.strerror(number))


def test_what_else_is_wrong_is_said_with_its_place():
    denied = PermissionError(errno.EACCES, "Permission denied", ".hidden")
    with pytest.raises(Forbidden) as told, os_errors("the letters"):
        raise denied
    assert str(told.value) == "the letters: Permission denied"
    with pytest.raises(Forbidden) as told, os_errors("the letters", exactly=True):
        raise denied
    assert str(told.value) == ".hidden: Permission denied"
    with pytest.raises(Forbidden) as told, os_errors("the letters", exactly=True):
        raise OSError(errno.EIO, "Input/output error")
    assert str(told.value) == "the letters: Input/output error"


def test_a_reader_who_has_enough_is_no_error_of_a_file():
    with pytest.raises(BrokenPipeError), os_errors("standard output"):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_a_disk_that_loses_names_is_told_of_wherever_files_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A directory that cannot be synced may have lost what was just renamed into it."""
    sync = os.fsync

    def failing(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().is_dir():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="Input/output error"):
        sync_directory(tmp_path)
    whole, mail, export = tmp_path / "whole", tmp_path / "mail", tmp_path / "export"
    with pytest.raises(XHMTPError, match="whole: Input/output error"), whole_file(whole) as file:
        file.write(b"x")
    with pytest.raises(XHMTPError, match="mail: Input/output error"), opened(mail) as maildir:
        maildir.deliver("a" * 26, 1.0, b"x", flags="")
    with (
        pytest.raises(XHMTPError, match="export: Input/output error"),
        new_directory(export) as made,
    ):
        (made / "file").write_bytes(b"x")
