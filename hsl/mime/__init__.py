"""Mail as bytes: messages in, offsets into them and decoded values out; edits are splices, all else stays as it came.

fields: header fields (RFC 5322) · addresses: in envelopes and headers (RFC 5321, 5322) · words: encoded words (RFC
2047) · parameters: of a field (RFC 2045, 2231) · coding: transfer encodings and charsets · source: where bytes are read
from · tree: the parts, found in one pass · changes: what was edited · mail: a message under edit · render: it with its
edits · stream: that as a file · build: new parts.
"""
