"""Commands that delete local state: of tables, of old versions."""

from __future__ import annotations

import shutil
from pathlib import Path

from faustc.cli.base import CommandLineError
from faustc.cli.command import AppCommand
from faustc.exceptions import DataFolderInUse
from faustc.stores.folder import DataFolder

__all__ = ["clean_versions", "reset"]


class Reset(AppCommand):
    """Delete the local state of tables; stop the app's worker first.

    It is made again from the changelogs, which may take long.
    """

    async def run(self) -> None:
        folder = self.app.conf.tabledir
        if not folder.is_dir():
            return
        held = DataFolder(folder)
        try:
            held.lock_now()
        except DataFolderInUse as exc:
            raise CommandLineError(str(exc)) from exc
        try:
            self.say(f"Removing the local state of tables, {folder}...")
            remove(folder)
        finally:
            held.unlock()


class CleanVersions(AppCommand):
    """Delete the folders of versions of the app before this one."""

    @classmethod
    def command_name(cls) -> str:
        return "clean-versions"

    async def run(self) -> None:
        for folder in self.app.conf.find_old_versiondirs():
            self.say(f"Removing the folder of an old version, {folder}...")
            remove(folder)


def remove(folder: Path) -> None:
    """Delete a folder with all that is in it; a link is not followed."""
    try:
        if folder.is_symlink():
            folder.unlink()
        else:
            shutil.rmtree(folder)
    except OSError as exc:
        raise CommandLineError(f"{folder} cannot be removed: {exc.strerror or exc}") from exc


reset = Reset.as_click()
clean_versions = CleanVersions.as_click()
