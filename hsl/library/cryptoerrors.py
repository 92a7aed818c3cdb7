"""What cryptography raises for keys and certificates that are none. Heavy: imported by the functions that use it."""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.x509 import DuplicateExtension, InvalidVersion, UnsupportedGeneralNameType

BAD_KEY: Final = (ValueError, TypeError, UnsupportedAlgorithm, InternalError)
UNREADABLE: Final = (*BAD_KEY, OverflowError, InvalidVersion, DuplicateExtension, UnsupportedGeneralNameType)
