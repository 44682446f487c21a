"""Model: what models do with data and bytes, whatever way their fields are described."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, ClassVar, Self

from .. import codecs
from ..codecs import CodecArg
from ..exceptions import ValidationError
from ..types import ModelT
from .options import ModelOptions
from .registry import BLESSED_KEY, maybe_model, registry
from .tags import untagged

__all__ = ["Model", "ModelOptions", "maybe_model", "registry"]


class Model(ModelT):
    """The base of `Record`, which is the kind of model there is."""

    __is_abstract__: ClassVar[bool] = True

    _blessed_key: ClassVar[str] = BLESSED_KEY
    _options: ClassVar[ModelOptions] = ModelOptions()
    _build: ClassVar[Callable[[Any], Any]]

    # -- making

    @classmethod
    def make_final(cls) -> None:
        """Finish a class that waits for it; nothing to do for any other."""

    @classmethod
    def from_data(cls, data: Any, *, preferred_type: Any = None) -> Self:
        """Make a model of a mapping; a model is handed back as it is.

        What the mapping has beyond the fields becomes attributes, which are not
        written again. Raises TypeError for a missing field, ValidationError for
        a value that does not fit.
        """
        if getattr(data, "__is_model__", False):
            return data  # type: ignore[no-any-return]
        return cls._build(data)  # type: ignore[no-any-return]

    @classmethod
    def loads(
        cls, s: bytes, *, default_serializer: CodecArg = None, serializer: CodecArg = None
    ) -> Self:
        """Make a model of bytes: by its own serializer, the given one, or JSON.

        default_serializer is the older name of serializer.
        """
        if default_serializer is not None:
            warnings.warn(
                "default_serializer is deprecated: give serializer",
                DeprecationWarning,
                stacklevel=2,
            )
        codec = cls._options.serializer or serializer or default_serializer or "json"
        return cls.from_data(codecs.loads(codec, s))

    def derive(self, *objects: Any, **fields: Any) -> Self:
        """Return a copy, changed by the fields of other models and then by keywords."""
        return self._derive(*objects, **fields)

    def _derive(self, *objects: Any, **fields: Any) -> Self:
        values = {name: getattr(self, name) for name in self._options.fields}
        for other in objects:
            values.update({name: getattr(other, name) for name in other._options.fields})
        return type(self)(**{**values, **fields})

    # -- writing

    def to_representation(self) -> Any:
        """Return the model as plain data."""
        raise NotImplementedError(f"{type(self).__name__} has no plain form")

    def __json__(self) -> Any:
        data = self.to_representation()
        return untagged(data) if self._options.tagged_fields else data

    def dumps(self, *, serializer: CodecArg = None) -> bytes:
        """Return the model as bytes: by the given serializer, its own, or JSON."""
        codec = serializer or self._options.serializer or "json"
        data = self.to_representation()
        return codecs.dumps(codec, untagged(data) if self._options.tagged_fields else data)

    # -- checking

    def validate(self) -> list[ValidationError]:
        """Return what is wrong with the values of the fields."""
        return [
            error
            for name, one in self._options.descriptors.items()
            for error in one.validate_all(getattr(self, name))
        ]

    @property
    def validation_errors(self) -> list[ValidationError]:
        """What is wrong with the values of the fields."""
        return self.validate()

    def is_valid(self) -> bool:
        """Say whether nothing is."""
        return not self.validate()

    def validate_or_raise(self) -> None:
        """Raise the first ValidationError, if there is one."""
        errors = self.validate()
        if errors:
            raise errors[0]

    # -- showing

    def _humanize(self) -> str:
        """Return the fields as text, for repr; to be overridden."""
        more = {name: value for name, value in vars(self).items() if not name.startswith("__")}
        shown = {name: more.pop(name) for name in self._options.fields if name in more}
        return ", ".join(f"{name}={value!r}" for name, value in {**shown, **more}.items())

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._humanize()}>"
