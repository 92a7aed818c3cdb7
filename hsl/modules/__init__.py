"""Modules of HSL that come with this package: `extras://NAME` is extras/NAME.hsl."""
