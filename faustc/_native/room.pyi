from typing import final

from typing_extensions import Buffer

@final
class View:
    def __new__(cls, data: Buffer) -> View: ...

@final
class Room:
    def __new__(cls, size: int) -> Room: ...
