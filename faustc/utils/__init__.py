"""Small things that applications written for Faust import from faust.utils."""
