"""ModelOptions: what a model was declared with, and the indexes made of its fields."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Self

from ..codecs import CodecArg
from .coerce import Rules
from .fields import FieldDescriptor


class ModelOptions:
    """What `Model._options` is: options of the class, then what follows from its fields.

    A class `Options` in the body of a model adds attributes of its own.
    """

    serializer: CodecArg = None
    namespace: str = ""
    include_metadata: bool = True
    isodates: bool = False
    decimals: bool = False
    coerce: bool = False
    validation: bool = False
    polymorphic_fields: bool = False
    allow_blessed_key: bool = False
    date_parser: Callable[[Any], datetime] | None = None
    coercions: dict[Any, Callable[[Any], Any]]

    #: name -> type, bases first.
    fields: Mapping[str, Any]
    #: The names of all fields.
    fieldset: frozenset[str]
    #: position -> name.
    fieldpos: Mapping[int, str]
    #: name -> descriptor.
    descriptors: Mapping[str, FieldDescriptor[Any]]
    #: The names of the fields that need not be given, and their defaults.
    optionalset: frozenset[str]
    defaults: Mapping[str, Any]
    #: The names of the fields that are tagged, or hold models with such fields.
    tagged_fields: frozenset[str]
    personal_fields: frozenset[str]
    sensitive_fields: frozenset[str]
    secret_fields: frozenset[str]

    def __init__(self) -> None:
        self.coercions = {}
        self.describe({})

    def clone_defaults(self) -> Self:
        """Return a copy for a subclass."""
        mine = copy.copy(self)
        mine.coercions = dict(self.coercions)
        return mine

    def describe(self, descriptors: Mapping[str, FieldDescriptor[Any]]) -> None:
        """Make the indexes for these fields."""
        self.descriptors = descriptors
        self.fields = {name: one.type for name, one in descriptors.items()}
        self.fieldset = frozenset(descriptors)
        self.fieldpos = dict(enumerate(descriptors))
        self.defaults = {n: one.default for n, one in descriptors.items() if not one.required}
        self.optionalset = frozenset(self.defaults)
        self.personal_fields = self._with("personal")
        self.sensitive_fields = self._with("sensitive")
        self.secret_fields = self._with("secret")
        self.tagged_fields = self.personal_fields | self.sensitive_fields | self.secret_fields

    def _with(self, kind: str) -> frozenset[str]:
        return frozenset(
            name
            for name, one in self.descriptors.items()
            if getattr(one.tag, f"is_{kind}", False)
            or any(getattr(tag, f"is_{kind}") for tag in one.related_tags)
            or any(getattr(m._options, f"has_{kind}_fields") for m in one.related_models)
        )

    @property
    def has_tagged_fields(self) -> bool:
        """Whether there are tagged fields, of whatever tag."""
        return bool(self.tagged_fields)

    @property
    def has_personal_fields(self) -> bool:
        """Whether a field is Personal."""
        return bool(self.personal_fields)

    @property
    def has_sensitive_fields(self) -> bool:
        """Whether a field is Sensitive."""
        return bool(self.sensitive_fields)

    @property
    def has_secret_fields(self) -> bool:
        """Whether a field is Secret."""
        return bool(self.secret_fields)

    def rules(self) -> Rules:
        """Return how values are converted."""
        return Rules(
            coerce=self.coerce,
            exact=self.validation,
            isodates=self.isodates,
            decimals=self.decimals,
            polymorphic=self.polymorphic_fields,
            coercions=self.coercions,
            date_parser=self.date_parser,
        )
