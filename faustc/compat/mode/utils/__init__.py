"""The helpers of mode that Faust applications and their tests import."""
