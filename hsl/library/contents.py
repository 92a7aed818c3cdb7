"""Which file declares a function or class: `module.attribute` of the chapter, its functions, its classes.

A function stands with its older names behind it, `name|older|older`. Made by tools/contents out of the files; the order
of the chapters is that of the manual, new ones come last.
"""

from __future__ import annotations

from collections.abc import Mapping

CONTENTS: Mapping[str, tuple[str, str]] = {
    "arrays.chapter": (
        """
        array_combine array_every array_filter array_find array_includes in_array array_join implode explode
        array_keys array_map array_random array_range range array_reduce array_reverse array_shuffle array_unique
        array_sort
        """,
        "",
    ),
    "cryptographic.chapter": (
        "hmac_md5 hmac_sha1 hmac_sha2 md5 sha1 sha2 hash random_bytes random_number|rand aes_encrypt aes_decrypt",
        "",
    ),
    "datatypes.chapter": (
        """
        length|count|strlen array boolean number string is_array is_boolean is_function is_number is_object
        is_string
        """,
        "",
    ),
    "containers.chapter": (
        "Map Set",
        "Iterator Map Set",
    ),
    "dateandtime.chapter": (
        "executiontime sleep time timelocal uptime strftime strptime strpduration",
        "",
    ),
    "dns.chapter": (
        """
        dns_query dns dns4 dns6 dnscname dnsmx dnsns dnsptr dnstxt domain_includes|is_subdomain domain_publicsuffix
        idna_encode idna_decode
        """,
        "",
    ),
    "encodings.chapter": (
        """
        base64_encode base64_decode base64url_encode base64url_decode base32_encode base32_decode mimeword_encode
        mimeword_decode json_encode csv_decode csv_encode json_decode yaml_decode
        """,
        "",
    ),
    "compression.chapter": (
        "zlib_compress zlib_uncompress",
        "",
    ),
    "urls.chapter": (
        "url_encode url_decode",
        "",
    ),
    "iconv.chapter": (
        "Iconv",
        "Iconv",
    ),
    "http.chapter": (
        "http",
        "",
    ),
    "urls.parsing": (
        "url_parse",
        "",
    ),
    "ffi.chapter": (
        "FFIFunction FFI",
        "FFI",
    ),
    "ldap.chapter": (
        "LDAP ldap_bind ldap_search",
        "LDAP LDAPResult",
    ),
    "protocols.chapter": (
        "smtp_lookup_rcpt smtp_lookup_auth dovecot_lookup_auth radius_authen tacplus_authen tacplus_author",
        "",
    ),
    "files.chapter": (
        "File file_get_contents file in_file",
        "File",
    ),
    "packing.chapter": (
        "pack unpack",
        "",
    ),
    "mailaddresses.chapter": (
        """
        envelope_address_parse envelope_localpart_escape header_addresslist_extract|GetAddressList
        header_addresslist_compile xtext_encode xtext_decode
        """,
        "",
    ),
    "mailauth.chapter": (
        "spf_query spf dnsbl header_dkim_decode",
        "",
    ),
    "mathematical.chapter": (
        "abs ceil floor log pow round sqrt",
        "",
    ),
    "mime.chapter": (
        "MIME",
        "MIMEPart MIME MailMessage",
    ),
    "misc.chapter": (
        "serial gethostname uuid uuidv5 syslog inet_includes|in_network inet_ntop inet_pton inet_reverse",
        "",
    ),
    "strings.chapter": (
        """
        chr ord str_repeat str_replace str_split str_chunk str_find|strpos str_rfind|strrpos str_lower|strtolower
        str_upper|strtoupper str_slice|substr str_strip|trim str_lstrip str_rstrip
        """,
        "",
    ),
    "regularexpression.chapter": (
        "pcre_compile pcre_match pcre_match_all pcre_quote pcre_replace",
        "Regex",
    ),
    "sharedmemory.chapter": (
        "memory_add memory_dec memory_inc memory_delete memory_exists memory_fetch memory_store memory_update",
        "",
    ),
    "absent.chapter": (
        "Authenticate Deny globalview",
        "",
    ),
    "sockets.chapter": (
        "Socket TLSSocket",
        "Socket TLSSocket",
    ),
    "certificates.chapter": (
        "X509 X509CRL",
        "X509 X509CRL",
    ),
    "cms.chapter": (
        "cms_sign pkcs7_sign cms_verify cms_encrypt cms_decrypt cms_type",
        "",
    ),
    "keys.chapter": (
        """
        rsa_privatekey is_rsa_privatekey rsa_sign rsa_verify ec_privatekey is_ec_privatekey ed25519_privatekey
        is_ed25519_privatekey ed25519_sign ed25519_verify
        """,
        "",
    ),
    "passwords.chapter": (
        "crypt",
        "",
    ),
}
