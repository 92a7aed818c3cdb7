"""Chapter "DNS": what can be said of a domain without asking for it."""

from __future__ import annotations

from hsl.builtins import Chapter

chapter = Chapter("DNS")


@chapter.function("domain_includes", aliases=("is_subdomain",), constant=True)
def domain_includes(subdomain: bytes, domain: bytes) -> bool:
    """Return true if subdomain equals domain or lies below it; below it only, if domain starts with a dot.

    US-ASCII letters are compared without regard to case (RFC 4343).
    """
    subdomain, domain = subdomain.lower(), domain.lower()
    if domain.startswith(b"."):
        return subdomain.endswith(domain) and len(subdomain) > len(domain)
    return subdomain == domain or (bool(domain) and subdomain.endswith(b"." + domain))
