"""What a model is, for isinstance: models themselves are far above."""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = ["ModelT"]


class ModelT:
    """What every model is, for `isinstance(value, ModelT)`; see `faustc.models`."""

    __is_model__: ClassVar[bool] = True

    _options: ClassVar[Any]
