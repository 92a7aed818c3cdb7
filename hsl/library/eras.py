"""The years whose reference has a name: functions, aliases, classes, and methods as `Class.method`.

Made by tools/eras out of the catalogues in tests/data.
"""

from __future__ import annotations

from collections.abc import Mapping

NAMES: Mapping[str, str] = {
    "2015": """
    Abort CopyMail DKIMADSP DKIMSDID DeliverWithDKIM DirectDeliver DiscardMailDataChanges GenerateDSN
    GetAttachmentName GetAttachmentSize GetAttachmentType GetAttachmentsByName GetAttachmentsByType
    GetMailQueueMetric GuessAttachmentType RemoveAttachments ScanRPDAV dns dns4 dns6 dnsmx dnsptr dnstxt
    dovecot_lookup_auth explode implode in_array radius_authen range spf tacplus_authen tacplus_author
    """,
    "2015 2019": """
    AddHeader Allow AppendHeader Authenticate Block CurrentConnections DelHeader Deliver Deny GetAddressList GetDSN
    GetDSNHeader GetHeader GetHeaders GetRoute PrependHeader Quarantine Reschedule Retry ScanCLAM ScanDLP ScanDMARC
    ScanKAV ScanRPD ScanSA SetDelayedDeliver SetDestination SetHELO SetHeader SetMailTransport SetProtocol
    SetRecipient SetSASL SetSender SetSourceIP count dnsbl file file_get_contents globalview in_file in_network
    is_subdomain ldap_bind ldap_search mail rand rate serial stat strlen strpos strrpos strtolower strtoupper substr
    trim
    """,
    "2015 2019 2026": """
    Accept Defer Delete GetMetaData Reject SetMetaData Try abs array array_keys array_reverse base64_decode
    base64_encode ceil chr executiontime floor gethostname hmac_md5 hmac_sha1 http is_array is_number is_string
    isset json_decode json_encode log md5 number pcre_match pcre_match_all pcre_replace pow round sha1 sleep
    smtp_lookup_auth smtp_lookup_rcpt sqrt str_repeat str_replace strftime string syslog time timelocal unset uptime
    uuid
    """,
    "2019": """
    Done GetExtensions GetMailFile GetMailMessage GetTLS History LDAP LDAP.bind LDAP.dn2str LDAP.err2string
    LDAP.errno LDAP.filter_escape LDAP.getpeerx509 LDAP.search LDAP.setoption LDAP.starttls LDAP.str2dn LDAP.unbind
    LDAPResult LDAPResult.next SetDSN SetRecipientParams SetSenderHELO SetSenderIP SetSenderParams SetTLS SetXCLIENT
    """,
    "2019 2026": """
    Bounce EODMailMessage EODMailMessage.queue FFI FFI.allocate FFI.attach FFI.byref FFI.cnumber FFI.cstring
    FFI.deref FFI.detach FFI.func FFI.memcpy FFI.nullptr FFI.number FFI.number64 FFI.offset FFI.string FFI.symbol
    FFI.type FFIFunction File File.String File.close File.getPath File.read File.readline File.seek File.tell MIME
    MIME.addHeader MIME.appendPart MIME.queue MIME.setBody MIME.setBoundary MIME.setType MIME.signDKIM MIME.toString
    MIMEPart MIMEPart.addHeader MIMEPart.appendPart MIMEPart.delHeader MIMEPart.findByFileName MIMEPart.findByType
    MIMEPart.getBody MIMEPart.getFileName MIMEPart.getHeader MIMEPart.getHeaderNames MIMEPart.getHeaders
    MIMEPart.getID MIMEPart.getParts MIMEPart.getSize MIMEPart.getType MIMEPart.prependPart MIMEPart.remove
    MIMEPart.replacePart MIMEPart.setBody MIMEPart.setHeader MailMessage MailMessage.String MailMessage.reset
    MailMessage.restore MailMessage.send MailMessage.signDKIM MailMessage.snapshot MailMessage.toFile
    MailMessage.toString MailMessage.verifyDKIM Pass Queue Reply Socket Socket.AF Socket.bind Socket.close
    Socket.connect Socket.errno Socket.recv Socket.send Socket.settimeout Socket.shutdown TLSSocket TLSSocket.errno
    TLSSocket.getpeerx509 TLSSocket.handshake TLSSocket.recv TLSSocket.send TLSSocket.shutdown X509 X509.export
    X509.issuer X509.not_valid_after X509.not_valid_before X509.public_key X509.serial_number X509.subject
    X509.subject_alt_name X509.version aes_decrypt aes_encrypt array_every array_filter array_find array_includes
    array_join array_map array_range array_reduce array_sort boolean crypt csv_decode csv_encode dns_query
    domain_includes ed25519_sign ed25519_verify envelope_address_parse envelope_localpart_escape hash
    header_addresslist_extract header_dkim_decode hmac_sha2 idna_decode idna_encode inet_includes inet_ntop
    inet_pton inet_reverse is_boolean is_function is_object length memory_add memory_dec memory_delete memory_exists
    memory_fetch memory_inc memory_store memory_update ord pack pcre_quote pkcs7_sign queue_policy queue_quota
    queue_suspend random_bytes random_number rsa_sign rsa_verify sha2 spf_query str_find str_lower str_rfind
    str_slice str_split str_strip str_upper strptime unpack xtext_decode xtext_encode
    """,
    "2026": """
    Default Exception Exception.column Exception.file Exception.line Exception.message Exception.toString
    FFI.callback File.toFFIValue Iconv Iconv.close Iconv.convert Iconv.errno MIME.send MIME.setDate
    MIME.setDisposition MIME.setFileName MIME.toFile MIMEPart.getByID MIMEPart.getEpilogue MIMEPart.getErrors
    MIMEPart.getPreamble MIMEPart.getTypeParameter MIMEPart.renameHeader MIMEPart.setDateLater MIMEPart.setEpilogue
    MIMEPart.setPreamble MailMessage.File MailMessage.modifyContent MailMessage.queue Map Map.clear Map.delete
    Map.entries Map.get Map.has Map.merge Map.set Map.size Set Set.add Set.clear Set.delete Set.has Set.size
    Set.values Socket.Resource Socket.toFFIValue TLSSocket.toSocket X509.String X509.extensions X509.toFFIValue
    X509.toResource X509.verify X509CRL X509CRL.String X509CRL.export X509CRL.extensions X509CRL.issuer
    X509CRL.last_update X509CRL.next_update X509CRL.revoked X509CRL.toResource X509CRL.version array_combine
    array_random array_shuffle array_unique base32_decode base32_encode base64url_decode base64url_encode
    cms_decrypt cms_encrypt cms_sign cms_verify domain_publicsuffix ec_privatekey ed25519_privatekey
    header_addresslist_compile is_ec_privatekey is_ed25519_privatekey is_rsa_privatekey metrics_decrement
    metrics_get metrics_increment metrics_set mimeword_decode mimeword_encode pcre_compile queue_policy_delete
    rsa_privatekey server_concurrency str_chunk str_lstrip str_rstrip strpduration url_decode url_encode url_parse
    uuidv5 yaml_decode zlib_compress zlib_uncompress
    """,
}


def years_of(name: str) -> tuple[str, ...]:
    """The years whose reference has a name; empty: it is our own."""
    return next((tuple(years.split()) for years, names in NAMES.items() if name in names.split()), ())
