BLOCK = (
    "Received: from mx.example.net (192.0.2.1); Tue, 3 Jan 2017 10:00:00 +0000\r\nFrom:  Ann <ann@example.com>\r\n"
    "To: bob@example.org,\r\n\tcarol@example.org\r\nSUBJECT: a  subject that is\r\n folded twice\r\n over lines \r\n"
    "Content-Type: multipart/mixed; boundary=xyz; charset=utf-8\r\nX-Spam: no\r\nReceived: by mail.example.com\r\n"
)


def parse(text):
    lines = []
    for line in text.split("\r\n"):
        if line == "":
            continue
        if line[0] == " " or line[0] == "\t":
            lines[-1] += " " + line.strip()
        else:
            lines.append(line)
    headers = {}
    for line in lines:
        colon = line.find(":")
        name = line[:colon].lower()
        values = []
        for part in line[colon + 1 :].split(";"):
            values.append(part.strip())
        if name not in headers:
            headers[name] = []
        headers[name].append(values)
    return headers


def main(size):
    total = 0
    for n in range(size):
        headers = parse(BLOCK)
        for name, entries in headers.items():
            total += len(name) * len(entries)
            for values in entries:
                total += len("|".join(values))
        total += len(headers["content-type"][0][1]) + n % 2
    return f"total {total}"
